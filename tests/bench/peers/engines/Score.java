import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Kafka Streams, exactly_once_v2: groupByKey().aggregate() into a RocksDB store with a changelog. The
 * state is 32 bytes (count, cents, score, last), the cheapest form one would choose.
 */
public class Score {
  @JsonIgnoreProperties(ignoreUnknown = true)
  public static class Event {
    public String type;
    public long occurred_at;
    public long value;
  }

  static final double HALF_LIFE_MS = 30 * 86_400_000.0;
  static final int STATE_BYTES = 32;
  static final Map<String, Double> WEIGHTS =
      Map.of("page", 0.5, "track", 1.0, "open", 1.0, "click", 3.0, "visit", 5.0, "order", 20.0);
  static final ObjectReader JSON = new ObjectMapper().readerFor(Event.class);
  static final AtomicLong seen = new AtomicLong();

  static byte[] fold(byte[] state, byte[] json) {
    try {
      Event event = JSON.readValue(json);
      double weight = WEIGHTS.get(event.type);
      double score = weight;
      long count = 1;
      long cents = event.value;
      long last = event.occurred_at;
      if (state.length == STATE_BYTES) {
        ByteBuffer before = ByteBuffer.wrap(state);
        count += before.getLong();
        cents += before.getLong();
        double old = before.getDouble();
        long was = before.getLong();
        if (last >= was) {
          score = old * Math.exp((was - last) / HALF_LIFE_MS) + weight;
        } else {
          score = old + weight * Math.exp((last - was) / HALF_LIFE_MS);
          last = was;
        }
      }
      long now = seen.incrementAndGet();
      if (now == 1 || now % 2000 == 0) {
        System.out.println("P " + now + " " + System.currentTimeMillis() / 1000.0);
      }
      return ByteBuffer.allocate(STATE_BYTES)
          .putLong(count).putLong(cents).putDouble(score).putLong(last).array();
    } catch (java.io.IOException error) {
      throw new RuntimeException(error);
    }
  }

  public static void main(String[] arguments) {
    Map<String, String> told = System.getenv();
    Properties properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, told.get("PEER_GROUP"));
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, told.get("PEER_BOOTSTRAP"));
    properties.put(StreamsConfig.STATE_DIR_CONFIG, told.get("PEER_STATE"));
    properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, "exactly_once_v2");
    properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "100");
    properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, told.get("PEER_THREADS"));
    properties.put("session.timeout.ms", "10000");
    properties.put("auto.offset.reset", "earliest");
    StreamsBuilder builder = new StreamsBuilder();
    builder
        .stream(told.get("PEER_TOPIC"), Consumed.with(Serdes.String(), Serdes.ByteArray()))
        .groupByKey()
        .aggregate(
            () -> new byte[0],
            (key, json, state) -> fold(state, json),
            Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("scores")
                .withKeySerde(Serdes.String())
                .withValueSerde(Serdes.ByteArray()));
    KafkaStreams streams = new KafkaStreams(builder.build(), properties);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }
}
