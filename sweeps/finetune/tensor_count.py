"""Live bytes of tensors, counted while a model runs; also while it only pretends to.

A model of fake tensors (torch's FakeTensorMode) runs a trial's own code with shapes and without numbers, so
its bytes are those of the real run to the last tensor, whatever the architecture. What a kernel holds inside
itself is in no count.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import DynamicCache
from transformers.pytorch_utils import Conv1D

from sweeps.finetune.batch import chunk_positions, position_nats
from sweeps.finetune.model import base_model, tune
from sweeps.finetune.weights import empty_model
from tracker.trial import MethodSpec

#: Layers of the two counts from which that of more layers follows: every layer adds the same.
_FEW, _MORE = 2, 3
#: Share by which the weights of the layers left out may differ from those counted.
_ALIKE = 0.02
_GROUPED = torch.ops.aten._grouped_mm.default


class TensorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts bytes of the tensors made while it is active, and of those it is shown, as long as they live.

    ``peaks``: the most bytes alive in each phase, by name; :meth:`begin` begins one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peaks: dict[str, int] = {}
        self._phase = ""
        self._known: dict[int, int] = {}

    def begin(self, phase: str) -> None:
        """Count under the name *phase* from now on."""
        self._phase = phase
        self.peaks[phase] = max(self.peaks.get(phase, 0), self.live)

    def see(self, tensor: Tensor) -> None:
        """Count *tensor*, unless another one of the same storage is counted."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known:
            return
        self._known[key] = storage.nbytes()
        self.live += self._known[key]
        self.peaks[self._phase] = max(self.peaks.get(self._phase, 0), self.live)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.live -= self._known.pop(key)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is _GROUPED and args[0].dtype is torch.float32 and _is_fake(args[0]):
            made = _grouped(*args, **(kwargs or {}))  # torch knows its shape for bfloat16 alone
        else:
            made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self.see(tensor)
        return made


def _is_fake(tensor: Tensor) -> bool:
    return type(tensor).__name__ == "FakeTensor"


def _grouped(a: Tensor, b: Tensor, offs: Tensor | None = None, **_: Any) -> Tensor:
    """An empty result of a grouped product, as of a layer's experts."""
    shape = {
        (2, 3): (a.shape[0], b.shape[-1]),
        (3, 2): (a.shape[-2], b.shape[-1]),
        (3, 3): (a.shape[0], a.shape[-2], b.shape[-1]),
        (2, 2): (0 if offs is None else offs.shape[0], a.shape[0], b.shape[-1]),
    }[a.dim(), b.dim()]
    return a.new_empty(shape)


class Setting(NamedTuple):
    """What is counted: an architecture (*config* of transformers), a method, and the types of both.

    ``frozen``: type of the weights that do not train; those that do are float32. ``autocast``: whether it
    computes in bfloat16. ``parameters``: weights of the whole model, where they are known.
    """

    config: Any
    method: MethodSpec
    frozen: torch.dtype = torch.float32
    autocast: bool = False
    recomputed: bool = False
    trust: bool = False
    parameters: int | None = None


class Step(NamedTuple):
    """A batch: ``rows`` of ``length`` tokens, ``trained`` of them in all with a loss."""

    rows: int
    length: int
    trained: int


def training_bytes(setting: Setting, step: Step) -> int:
    """Peak bytes of tensors in a training step: weights, optimizer state, gradients, activations."""
    beyond = _beyond_chunk(setting, step)
    return beyond + _over_layers(
        setting, lambda model, counter: _train(model, counter, setting, step)
    )


def loss_bytes(setting: Setting, step: Step) -> int:
    """Peak bytes of tensors where the loss of a batch is measured without gradients."""
    beyond = _beyond_chunk(setting, step)
    return beyond + _over_layers(
        setting, lambda model, counter: _score(model, counter, setting, step)
    )


def generation_bytes(setting: Setting, rows: int, prompt: int, new: int) -> int:
    """Peak bytes of tensors where *rows* prompts of *prompt* tokens are answered by *new* tokens."""
    width = prompt + (setting.method.virtual_tokens or 0)
    return _over_layers(
        setting, lambda model, counter: _generate(model, counter, setting, rows, width, new)
    )


def quantised_saving(config: Any, unpacked: int, *, trust: bool = False) -> int:
    """Bytes that nf4 weights take less than *unpacked* bytes each, but for the room to unpack the largest.

    Doubly quantised: half a byte a weight, a byte for each 64 of them, and a float32 for each 256 of those.
    Embeddings and the output layer stay as they are.
    """
    model = empty_model(config, trust=trust)
    head = model.get_output_embeddings()
    weights = [
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    each = unpacked - (1 / 2 + 1 / 64 + 4 / (64 * 256))
    return int(sum(weights) * each) - unpacked * max(weights, default=0)


# -- a run of fake tensors -----------------------------------------------------------------------------

_Run = Callable[[nn.Module, TensorCounter], None]


def _over_layers(setting: Setting, run: _Run) -> int:
    """The peak of *run* on the whole model, from counts of few layers where all layers are alike."""
    layers = setting.config.get_text_config(decoder=True).num_hidden_layers
    few, more = _counted_layers(setting.config)
    if more < layers and (setting.parameters is None or _representative(setting, few, more)):
        small, large = (_count(setting, number, run) for number in (few, more))
        if small.keys() <= large.keys():
            each = (layers - few) / (more - few)
            peaks = []
            for phase, bytes_ in large.items():
                before = small.get(phase, small.get("top", 0))
                peaks.append(before + each * max(0, bytes_ - before))
            return int(max(peaks))
    return max(_count(setting, None, run).values())


def _counted_layers(config: Any) -> tuple[int, int]:
    """Numbers of layers to count, so that they hold each kind as often as the others do."""
    kinds = list(getattr(config.get_text_config(decoder=True), "layer_types", None) or ())
    if len(set(kinds)) < 2:
        return _FEW, _MORE
    period = max(kinds.index(kind) for kind in set(kinds)) + 1
    return period, 2 * period


def _representative(setting: Setting, few: int, more: int) -> bool:
    layers = setting.config.get_text_config(decoder=True).num_hidden_layers
    small, large = (
        sum(p.numel() for p in _empty(setting, number).parameters()) for number in (few, more)
    )
    whole = small + (layers - few) / (more - few) * (large - small)
    assert setting.parameters is not None
    return bool(abs(whole - setting.parameters) <= _ALIKE * setting.parameters)


def _empty(setting: Setting, layers: int | None) -> Any:
    config = setting.config if layers is None else with_layers(setting.config, layers)
    return empty_model(copy.deepcopy(config), trust=setting.trust).to(setting.frozen)


def with_layers(config: Any, layers: int) -> Any:
    """A copy of *config* with the first *layers* of its decoder alone."""
    fewer = copy.deepcopy(config)
    text = fewer.get_text_config(decoder=True)
    before = text.num_hidden_layers
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == before:
            setattr(text, name, value[:layers])
    text.num_hidden_layers = layers
    return fewer


def _count(setting: Setting, layers: int | None, run: _Run) -> Mapping[str, int]:
    method = setting.method
    if method.variant == "pissa":  # it starts from a decomposition, which no empty model has
        method = method.model_copy(update={"variant": "plain"})
    with torch.device("meta"):
        model = tune(_empty(setting, layers), method)
    counter = TensorCounter()
    with FakeTensorMode(allow_non_fake_inputs=True), counter:
        _materialise(model, counter)
        run(model, counter)
    return counter.peaks


def _materialise(model: nn.Module, counter: TensorCounter) -> None:
    """Give *model* memory in the mode that is active: weights that train as float32."""
    made: dict[int, Tensor] = {}

    def real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if id(tensor) not in made:
            made[id(tensor)] = torch.empty(tensor.shape, dtype=dtype, device="cpu")
            counter.see(made[id(tensor)])
        return made[id(tensor)]

    parameters: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is None:
                continue
            if id(weight) not in parameters:
                dtype = torch.float32 if weight.requires_grad else weight.dtype
                parameters[id(weight)] = nn.Parameter(real(weight, dtype), weight.requires_grad)
            module._parameters[name] = parameters[id(weight)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = real(buffer, buffer.dtype)
    for prompt in (getattr(model, "prompt_tokens", None) or {}).items():
        model.prompt_tokens[prompt[0]] = torch.arange(len(prompt[1]), device="cpu")  # type: ignore[operator]


def _layers(model: nn.Module) -> list[nn.Module]:
    """The decoder's layers in order; none where they are not found."""
    inner: Any = base_model(model)
    number = inner.config.get_text_config(decoder=True).num_hidden_layers
    found = [m for m in inner.modules() if isinstance(m, nn.ModuleList) and len(m) == number]
    return list(found[-1]) if found else []


def _batch(step: Step) -> dict[str, Tensor]:
    ids = torch.ones(step.rows, step.length, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _summed_nats(model: nn.Module, setting: Setting, step: Step) -> Tensor:
    """The loss, with at most one chunk of logits; hidden states of what is beyond it are kept too."""
    text = setting.config.get_text_config(decoder=True)
    positions = min(step.trained, chunk_positions(text.vocab_size))
    total: Tensor
    with torch.autocast("cpu", torch.bfloat16, enabled=setting.autocast):
        chosen = torch.zeros(positions, dtype=torch.long)
        inputs = _batch(step)
        total = position_nats(model, inputs, chosen, torch.zeros_like(chosen)).sum()
    return total


def _beyond_chunk(setting: Setting, step: Step) -> int:
    """Bytes of the hidden states whose logits are made after those of the first chunk."""
    text = setting.config.get_text_config(decoder=True)
    beyond = max(0, step.trained - chunk_positions(text.vocab_size))
    return int(beyond * text.hidden_size * (2 if setting.autocast else 4))


def _train(model: nn.Module, counter: TensorCounter, setting: Setting, step: Step) -> None:
    model.train()
    if setting.recomputed:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    layers = _layers(model)
    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            phase = {1: "low", len(layers) - 1: "top", 0: "bottom"}.get(number)
            if phase is not None:
                hook = layer.register_forward_hook(_marks_gradient(counter, phase))
                hooks.callback(hook.remove)
        state = [
            torch.zeros_like(p) for p in model.parameters() if p.requires_grad for _ in range(2)
        ]
        counter.begin("forward")
        loss = _summed_nats(model, setting, step)
        counter.begin("head")
        loss.backward()  # type: ignore[no-untyped-call]
        del state  # Adam's two moments, alive until here


def _marks_gradient(counter: TensorCounter, phase: str) -> Callable[..., None]:
    """A hook that begins *phase* when the gradient comes back to a layer's output."""

    def hook(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if hidden.requires_grad:
            hidden.register_hook(lambda _gradient: counter.begin(phase))

    return hook


def _score(model: nn.Module, counter: TensorCounter, setting: Setting, step: Step) -> None:
    model.eval()
    with torch.no_grad(), ExitStack() as hooks:
        _mark_head(model, counter, hooks)
        counter.begin("forward")
        _summed_nats(model, setting, step)


def _mark_head(model: nn.Module, counter: TensorCounter, hooks: ExitStack) -> None:
    if layers := _layers(model):
        hook = layers[-1].register_forward_hook(lambda *_: counter.begin("head"))
        hooks.callback(hook.remove)


def _generate(
    model: nn.Module, counter: TensorCounter, setting: Setting, rows: int, width: int, new: int
) -> None:
    """The prompts in one pass, then the last of the new tokens with a cache of all before it."""
    inner: Any = base_model(model.eval())
    keep = {"logits_to_keep": 1} if inner._supports_logits_to_keep() else {}
    with (
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16, enabled=setting.autocast),
        ExitStack() as hooks,
    ):
        _mark_head(model, counter, hooks)
        for length, past in ((width, 0), (1, width + new - 1)):
            counter.begin("forward")
            made = _cached(inner, rows, past)
            mask = torch.ones(rows, past + length, dtype=torch.long)
            ids = torch.ones(rows, length, dtype=torch.long)
            cache = {"past_key_values": made} if made is not None else {}
            out = inner(input_ids=ids, attention_mask=mask, use_cache=True, **cache, **keep)
            scores = out.logits[:, -1].to(copy=True, dtype=torch.float32)
            scores.logsumexp(dim=-1)
            del out, made, scores


def _cached(inner: Any, rows: int, past: int) -> DynamicCache | None:
    """A cache of *past* positions, from a pass over them; ``None`` for a model without one, or none."""
    if not past:
        return None
    one = torch.ones(rows, 1, dtype=torch.long)
    short = inner(input_ids=one, attention_mask=one, use_cache=True)
    made = getattr(short, "past_key_values", None)
    for layer in getattr(made, "layers", ()):
        for name in ("keys", "values"):
            states = getattr(layer, name, None)
            if isinstance(states, Tensor):
                kept = min(past, getattr(layer, "sliding_window", None) or past)
                wide = states.new_empty(*states.shape[:-2], kept, states.shape[-1])
                setattr(layer, name, wide)
        if hasattr(layer, "cumulative_length"):
            layer.cumulative_length = past
    return made
