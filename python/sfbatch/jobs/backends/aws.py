"""boto3's clients for the back ends, and what its errors mean: refused, away, or nobody knows."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from sfbatch.jobs.backends.remote import Away, Unclear
from sfbatch.jobs.backends.staging import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD_REQUEST, SERVER_ERROR = 400, 500
# 4xx, but the same request may be taken later: too many of them, or credentials that an operator has to renew.
_LATER = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
_LATER |= {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException"}


class Clients:
    """One client for each service and region, made when it is first needed; they may be used by several threads."""

    def __init__(self) -> None:
        self._lock, self._made = threading.Lock(), dict[tuple[str, str, bool], Any]()

    def get(self, service: str, region: str, once: bool = False) -> Any:
        """A client. With `once` it never repeats a request by itself, for those that must not be made twice."""
        retries = {"total_max_attempts": 1 if once else 4, "mode": "standard"}
        config = Config(connect_timeout=5, read_timeout=30, retries=retries)
        with self._lock:
            key = (service, region, once)
            if key not in self._made:
                session = boto3.session.Session()
                self._made[key] = session.client(service, region_name=region, config=config)
            return self._made[key]


@contextmanager
def told(unclear: bool = False) -> Iterator[None]:
    """Turn boto3's errors into ours; `unclear` when a request that got no answer may have been carried out."""
    try:
        yield
    except ParamValidationError as error:
        raise refused(str(error)) from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", SERVER_ERROR)
        if status >= SERVER_ERROR and unclear:
            raise Unclear(str(error)) from error
        if code in _LATER or status >= SERVER_ERROR:
            raise Away(str(error)) from error
        raise refused(f"AWS refused it: {error}") from error
    except BotoCoreError as error:
        raise (Unclear if unclear and _was_sent(error) else Away)(str(error)) from error


def _was_sent(error: BotoCoreError) -> bool:
    """Whether the request may have reached AWS: not when there was no connection, or nothing to sign it with."""
    never = {"EndpointConnectionError", "ConnectTimeoutError", "NoCredentialsError", "PartialCredentialsError"}
    return type(error).__name__ not in never
