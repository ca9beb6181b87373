"""Which files of kernels/ the CUDA engine compiles, and with which macros."""

from __future__ import annotations

from dataclasses import dataclass

from hpc_lstm.cuda.modules import Source
from hpc_lstm.model.engines.cuda.chain_plan import ChainShape
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.cuda.product_plan import product_block
from hpc_lstm.model.engines.cuda.update_plan import tile_units
from hpc_lstm.model.engines.head import Head


@dataclass(frozen=True)
class Sources:
    """The kernels of one network, each a file and its macros.

    Attributes:
        plan: how they are cut.
        layers: of the network.
        dropout: whether outputs are dropped in training.
        head_of_network: what it is trained for.
    """

    plan: Plan
    layers: int
    dropout: bool
    head_of_network: Head

    @property
    def head(self) -> Source:
        head = self.head_of_network
        ends = {"TILED": int(self.plan.tiles > 0), "OUTPUTS": head.outputs, "TARGETS": head.targets}
        return "lstm_head", {**self._sizes(), **ends, "LOSS_NAME": f"loss_{head.loss.kernel}"}

    @property
    def gather(self) -> Source:
        return "lstm_gather", {"PARTS": self.plan.parts, "TILED": int(self.plan.tiles > 0)}

    @property
    def products(self) -> dict[int, Source]:
        """By the columns of a tile: those of products as wide as the gates, and as the units."""
        units, sizes = self.plan.units, {"PARTS": self.plan.parts, "STAGES": self.plan.product_stages}
        blocks = {product_block(width) for width in (4 * units, units)}
        return {block: ("lstm_products", {**sizes, "COLUMNS": block}) for block in blocks}

    @property
    def wgmma_products(self) -> Source:
        """The same for compute capability 9.0, tiles of one size."""
        return "lstm_products_wgmma", {"PARTS": self.plan.parts, "WGMMA": 1}

    @property
    def update(self) -> Source:
        sizes = {"OUTPUTS": self.head_of_network.outputs, "TILE_UNITS": tile_units(self.plan, self.layers)}
        return "lstm_update", {**self._sizes(), **sizes}

    @property
    def masks(self) -> Source:
        return "lstm_masks", {"UNITS": self.plan.units}

    def forward(self, layer: int, *, training: bool) -> Source:
        """Of one layer, from 0; of layers that run in one launch, the same for all."""
        if self.plan.wide:
            return "lstm_wide_forward", {**self._wide(training), "KEEPS": int(training)}
        if self.plan.tiles:
            return "lstm_tile_forward", {**self._tile(layer), "DROPS": self._drops(layer) if training else 0}
        layer = 0 if self.plan.forward.layers > 1 else layer
        folded = int(layer == 0 and self.plan.folded)
        drops = self._drops(layer) if training else 0
        more = {"DROPS": drops, "INPUT_TILES": folded}
        if self.plan.forward.through_memory:
            return "lstm_exchange_forward", {**self._exchange(self.plan.forward), **more}
        return "lstm_forward", {**self._chain(self.plan.forward), **more}

    def backward(self, layer: int) -> Source:
        """Of one layer, from 0; of layers that run in one launch, the same for all."""
        if self.plan.wide:
            return "lstm_wide_backward", {**self._wide(True), "TILES": self.plan.backward_tiles}
        top = int(layer + 1 == self.layers)
        if self.plan.tiles:
            return "lstm_tile_backward", {**self._tile(layer), "DROPS": self._drops(layer), "TOP": top}
        if self.plan.backward.through_memory:
            exchange = self._exchange(self.plan.backward)
            return "lstm_exchange_backward", {**exchange, "DROPS": self._drops(layer), "TOP": top}
        chain = self._chain(self.plan.backward)
        if self.plan.backward.layers > 1:
            return "lstm_backward", {**chain, "DROPS": self._drops(0), "TOP": 1}
        return "lstm_backward", {**chain, "DROPS": self._drops(layer), "TOP": top}

    def gradients(self, layer: int) -> Source:
        """Of one layer, from 0, for large batches."""
        return "lstm_tile_gradients", self._tile(layer)

    def all(self) -> list[Source]:
        """All that training and forecasts need; some may be the same."""
        layers = range(self.layers)
        chains = [self.forward(layer, training=training) for layer in layers for training in (True, False)]
        chains += [self.backward(layer) for layer in layers]
        others = [self.gradients(layer) for layer in layers] if self.plan.tiles else self._products()
        return [*chains, *others, self.update, self.head, self.gather, self.masks]

    def to_forecast(self) -> list[Source]:
        """All that forecasts alone need; some may be the same."""
        layers = [self.forward(layer, training=False) for layer in range(self.layers)]
        return [*layers, *([] if self.plan.tiles else self._products()), self.update, self.head]

    def _products(self) -> list[Source]:
        return [self.wgmma_products] if self.plan.wgmma else list(self.products.values())

    def _drops(self, layer: int) -> int:
        # The head drops the last layer's outputs.
        return int(self.dropout and layer + 1 < self.layers)

    def _sizes(self) -> dict[str, str | int]:
        return {"UNITS": self.plan.units, "PARTS": self.plan.parts}

    def _tile(self, layer: int) -> dict[str, str | int]:
        return {
            **self._sizes(),
            "TILES": self.plan.tiles,
            "INPUT": self.plan.input_width(layer),
            "WGMMA": 1,
        }

    def _wide(self, training: bool) -> dict[str, str | int]:
        drops = int(training and self.dropout and self.layers > 1)
        return {**self._tile(1), "LAYERS": self.layers, "DROPS": drops}

    def _chain(self, cut: ChainShape) -> dict[str, str | int]:
        cell = "bf16" if self.plan.parts == 1 else "float"
        sizes = {"SPLIT": cut.split, "K_SPLIT": cut.k_split, "TILES": cut.tiles, "BLOCKS": cut.blocks}
        w = {"W_SHARED": int(cut.w == "shared"), "PROJECTED": int(cut.w == "block")}
        return {**self._sizes(), **sizes, "LAYERS": cut.layers, **w, "STAGES": cut.stages, "CELL": cell}

    def _exchange(self, cut: ChainShape) -> dict[str, str | int]:
        cell = "bf16" if self.plan.parts == 1 else "float"
        sizes = {"SPLIT": cut.split, "K_SPLIT": cut.k_split, "TILES": cut.tiles}
        rows = {"STREAMED": int(cut.streamed), "BUFFERS": cut.buffers, "STAGES": cut.stages}
        return {**self._sizes(), **sizes, **rows, "CELL": cell}
