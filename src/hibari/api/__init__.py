"""HTTP: parse, authorise, call, render. The wire shapes live here and nowhere else, and nothing here imports torch.

`app` puts everything together; `parts` is what the routes work with. `videos`, `making`, `gallery`, `characters`,
`pictures`, `events`, `models` and `health` are the routes; `wire` is what goes over the wire, `errors` how things are
refused, `keys` who may ask. `body`, `uploads` and `fetch` are the doors through which files of strangers come in.
`orders` turns a request into a job; `samples` asks for some by itself.
"""

from hibari.api.app import create_app, welcome
from hibari.api.parts import Parts

__all__ = ["Parts", "create_app", "welcome"]
