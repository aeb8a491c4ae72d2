"""Servers that somebody else runs, at addresses from the environment."""

from crm_stack.errors import StackError

POSTGRES_VARIABLE = "KITH_POSTGRES_URL"
KAFKA_VARIABLE = "KITH_KAFKA_BOOTSTRAP"
REDIS_VARIABLE = "KITH_REDIS_URL"


class Given:
    """Has an address and nothing else: what is not ours is not stopped, killed or frozen."""

    running = True
    paused = False

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def install(self) -> None: ...

    def start(self) -> None: ...

    def restore(self) -> None: ...

    def stop(self) -> None:
        raise self._refused("stopped")

    def kill(self) -> None:
        raise self._refused("killed")

    def pause(self) -> None:
        raise self._refused("paused")

    def resume(self) -> None:
        raise self._refused("resumed")

    def restart(self) -> None:
        raise self._refused("restarted")

    def _refused(self, wish: str) -> StackError:
        return StackError(f"the server given in {self._variable} is not ours to be {wish}")


class GivenPostgres(Given):
    def __init__(self, admin_url: str) -> None:
        super().__init__(POSTGRES_VARIABLE)
        self.admin_url = admin_url


class GivenKafka(Given):
    def __init__(self, bootstrap: str) -> None:
        super().__init__(KAFKA_VARIABLE)
        self.bootstrap = bootstrap


class GivenRedis(Given):
    def __init__(self, url: str) -> None:
        super().__init__(REDIS_VARIABLE)
        self.url = url
