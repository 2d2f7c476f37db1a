"""A client of the API for Python, blocking (`Client`) and asynchronous (`AsyncClient`).

    from hibari.client import Client

    with Client(api_key="hb_...") as client:
        video = client.create("a cat jumps", seconds=4)
        for progress in client.with_progress(video):
            print(progress.step, progress.steps)
        client.download(video, "cat.mp4")

`calls`, `gallery` and `hooks` say what every call is told, sends and reads, once for both; `records` is what comes
back, `errors` what is raised; `tries` decides what is tried again, `following` and `partial` go on after a lost
connection. It needs nothing of the other rooms but the error tree, and no torch.
"""

from hibari.client.asynchronous import AsyncClient
from hibari.client.blocking import Client
from hibari.client.calls import Clip, ConnectOptions, CreateOptions, EditOptions, Options, StrengthOptions
from hibari.client.errors import (
    ApiError,
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    InvalidWebhook,
    LimitReached,
    ModelNotFound,
    NotFound,
    RateLimited,
    ServerError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    VideoCancelled,
    VideoFailed,
    VideoNotReady,
)
from hibari.client.gallery import Folder, Lineage, Wanted
from hibari.client.hooks import (
    EventType,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    read_webhook,
)
from hibari.client.records import (
    Card,
    Character,
    Details,
    Forecast,
    Format,
    Health,
    Link,
    Model,
    ModelPreset,
    Page,
    Picture,
    Progress,
    Variant,
    Video,
    VideoError,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Card",
    "Character",
    "Client",
    "ClientError",
    "Clip",
    "Conflict",
    "ConnectOptions",
    "CreateOptions",
    "Details",
    "EditOptions",
    "EventType",
    "Folder",
    "Forbidden",
    "Forecast",
    "Format",
    "Health",
    "InvalidWebhook",
    "LimitReached",
    "Lineage",
    "Link",
    "Model",
    "ModelNotFound",
    "ModelPreset",
    "NotFound",
    "Options",
    "Page",
    "Picture",
    "Progress",
    "RateLimited",
    "ServerError",
    "StrengthOptions",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Variant",
    "Video",
    "VideoCancelled",
    "VideoError",
    "VideoFailed",
    "VideoNotReady",
    "Wanted",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
    "read_webhook",
]
