"""What OpenAI-compatible servers send, as their documentation gives it: models, completions, chats, refusals. Values are ours.

A server of this file answers in the shape of one of :data:`PEERS`, cuts nothing, and says "by the door" to everything.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

ANSWER: Final = "by the door"
THOUGHTS: Final = "Where is it?"
CONTEXT: Final = 512


@dataclass(frozen=True)
class Peer:
    """One kind of server."""

    row: dict[str, Any]
    """Of ``/v1/models``."""
    completion: dict[str, Any]
    """What an answer has beside ``choices`` and ``usage``."""
    choice: dict[str, Any] = field(default_factory=dict)
    """What a choice has beside text or message, and its end."""
    message: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    thoughts: str = ""
    """The field of a message that has thoughts."""
    stop: str = "stop"
    no_ids: tuple[int, str] | None = None
    """Status and body for token ids, where it takes none."""
    too_long: tuple[int, str] = (400, "{}")


def _error(message: str, **more: object) -> str:
    return json.dumps({"error": {"message": message, **more}})


PEERS: Final = {
    "vllm": Peer(
        row={
            "id": "org/a", "object": "model", "created": 1, "owned_by": "vllm", "root": "org/a", "parent": None, "max_model_len": CONTEXT,
            "permission": [{"id": "modelperm-1", "object": "model_permission", "created": 1, "allow_sampling": True, "organization": "*"}],
        },
        completion={"id": "cmpl-1", "created": 1, "model": "org/a", "service_tier": None, "system_fingerprint": None,
                    "kv_transfer_params": None},
        choice={"index": 0, "logprobs": None, "stop_reason": None, "token_ids": None, "prompt_logprobs": None},
        message={"refusal": None, "annotations": None, "audio": None, "function_call": None, "tool_calls": []},
        usage={"prompt_tokens_details": None},
        thoughts="reasoning",
        too_long=(400, _error("This model's maximum context length is 512 tokens.", type="BadRequestError", param=None, code=400)),
    ),
    "llama.cpp": Peer(
        row={"id": "a.gguf", "object": "model", "created": 1, "owned_by": "llamacpp",
             "meta": {"vocab_type": 2, "n_vocab": 1000, "n_ctx_train": 2048, "n_embd": 64, "n_params": 30_000, "size": 60_000}},
        completion={"created": 1, "model": "a.gguf", "system_fingerprint": "b1-0", "id": "chatcmpl-1",
                    "timings": {"prompt_n": 5, "predicted_n": 3}},
        choice={"index": 0, "logprobs": None},
        thoughts="reasoning_content",
        too_long=(400, _error("the request exceeds the available context size, try increasing it", code=400,
                              type="exceed_context_size_error", n_prompt_tokens=600, n_ctx=CONTEXT)),
    ),
    "llama-cpp-python": Peer(
        row={"id": "a", "object": "model", "owned_by": "me", "permissions": []},
        completion={"id": "cmpl-1", "created": 1, "model": "a"},
        choice={"index": 0, "logprobs": None},
        no_ids=(500, _error("[{'type': 'string_type', 'loc': ('body', 'prompt', 'str')}]", type="internal_server_error", code=None)),
        too_long=(400, _error("This model's maximum context length is 512 tokens, however you requested 600 tokens.",
                              type="invalid_request_error", param="messages", code="context_length_exceeded")),
    ),
    "ollama": Peer(
        row={"id": "a:latest", "object": "model", "created": 1_700_000_000, "owned_by": "library"},
        completion={"id": "chatcmpl-1", "created": 1, "model": "a:latest", "system_fingerprint": "fp_ollama"},
        choice={"index": 0},
        thoughts="reasoning",
        no_ids=(400, _error("json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string",
                            type="invalid_request_error", param=None, code=None)),
    ),
    "tgi": Peer(
        row={"id": "org/a", "object": "model", "created": 0, "owned_by": "org/a"},
        completion={"id": "", "created": 1, "model": "org/a", "system_fingerprint": "3.0.0-native"},
        choice={"index": 0, "logprobs": None},
        stop="eos_token",
        no_ids=(422, "Failed to deserialize the JSON body into the target type: prompt: data did not match any variant"),
        too_long=(422, json.dumps({"error": "Input validation error: inputs must have less than 512 tokens", "error_type": "validation"})),
    ),
    "openai": Peer(
        row={"id": "a-2026-01-01", "object": "model", "created": 1_700_000_000, "owned_by": "system"},
        completion={"id": "chatcmpl-1", "created": 1, "model": "a-2026-01-01", "service_tier": "default", "system_fingerprint": "fp_1"},
        choice={"index": 0, "logprobs": None},
        message={"refusal": None, "annotations": []},
        usage={"prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}},
        too_long=(400, _error("This model's maximum context length is 512 tokens.", type="invalid_request_error", param="messages",
                              code="context_length_exceeded")),
    ),
}  # fmt: skip


def reply(peer: Peer, chat: bool, prompt_tokens: int, *, thinks: bool = False, reason: str = "") -> dict[str, Any]:
    """Give one answer in the peer's shape."""
    message = {"role": "assistant", "content": ANSWER, **peer.message}
    if peer.thoughts:
        message[peer.thoughts] = THOUGHTS if thinks else None
    choice = {**peer.choice, "finish_reason": reason or peer.stop, **({"message": message} if chat else {"text": ANSWER})}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 3, "total_tokens": prompt_tokens + 3, **peer.usage}
    return {**peer.completion, "object": "chat.completion" if chat else "text_completion", "choices": [choice], "usage": usage}


class PeerServer(ThreadingHTTPServer):
    """Answers as ``peer``; ``count`` says how many tokens a text has."""

    daemon_threads = True

    def __init__(self, peer: Peer, count: Any) -> None:
        self.peer, self.count = peer, count
        self.requests: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def status_and_body(self, body: dict[str, Any]) -> tuple[int, str]:
        self.requests.append(body)
        chat = "messages" in body
        asked = body["messages"][0]["content"] if chat else body["prompt"]
        if isinstance(asked, list) and self.peer.no_ids is not None:
            return self.peer.no_ids
        tokens = len(asked) if isinstance(asked, list) else self.count(asked)
        if tokens + body["max_tokens"] > CONTEXT:
            return self.peer.too_long
        return 200, json.dumps(reply(self.peer, chat, tokens))


class _Handler(BaseHTTPRequestHandler):
    server: PeerServer

    def do_GET(self) -> None:
        self._send(200, json.dumps({"object": "list", "data": [self.server.peer.row]}))

    def do_POST(self) -> None:
        self._send(*self.server.status_and_body(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

    def _send(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def peer_serving(peer: Peer, count: Any) -> Iterator[PeerServer]:
    """A server, up for the length of the block."""
    server = PeerServer(peer, count)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
