"""ONNX files of other people's networks and of exporters, read and compared with what they were made from."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from damaged_files import mutations, outcome
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from shipped_files import shipped
from torch import nn

import corrinit
from corrinit._weights import named_weights, read_filters


def weights_of(source, **options):
    return {name: np.array(weight) for name, weight in named_weights(source, **options)}


def model_of(nodes, initializers, path, inputs=("x",)):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


@pytest.fixture
def filters():
    return np.random.default_rng(0).normal(size=(16, 8, 3, 3)).astype(np.float32)


class TestShippedFiles:
    @pytest.mark.parametrize(
        "export", ["silero_vad_16k_op15", "silero_vad_16k_sequence", "silero_vad_openvino_16k", "silero_vad"]
    )
    def test_hold_the_weights_that_the_program_of_the_same_network_holds(self, export):
        """silero-vad 6.2.3, MIT: by PyTorch's exporter and by spox, in initializers and in constants."""
        program = torch.jit.load(shipped("silero-vad", "silero_vad/data/silero_vad.jit"))
        expected = {
            v.numpy().tobytes() for name, v in program.state_dict().items() if "reparam_conv.weight" in name
        }
        file = shipped("silero-vad", f"silero_vad/data/{export}.onnx")
        branches = ["If_0.then_branch", "If_0.else_branch"] if export == "silero_vad" else [None]
        for branch in branches:  # networks for two rates
            weights = weights_of(file, weights=branch)
            exported = [weight.tobytes() for name, weight in weights.items() if "encoder" in name]
            assert len(exported) == 4
            assert set(exported) <= expected

    def test_in_half_precision_agree_with_the_library(self):
        file = shipped("silero-vad", "silero_vad/data/silero_vad_half.onnx")
        stored = {
            t.name: numpy_helper.to_array(t).astype(np.float32) for t in onnx.load(file).graph.initializer
        }
        weights = weights_of(file)
        assert len(weights) == 5
        assert all(np.array_equal(weight, stored[name]) for name, weight in weights.items())

    def test_leave_out_the_fourier_transform(self):
        found = read_filters(shipped("silero-vad", "silero_vad/data/silero_vad_16k_op15.onnx"))
        assert [each for each in found.left_out if "forward_basis_buffer" in each.name]

    def test_of_two_networks_ask_which_one_is_meant(self):
        """For two rates, in the branches of an If."""
        file = shipped("silero-vad", "silero_vad/data/silero_vad.onnx")
        with pytest.raises(
            corrinit.CorrInitError, match=r"several sets of weights: If_0\.\w+_branch .*choose one"
        ):
            corrinit.estimate(file)

    def test_of_paddle_hold_transposed_convolutions(self):
        """rapidocr-onnxruntime 1.4.4, Apache-2.0: all weights are nodes Constant."""
        file = shipped("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx")
        model = onnx.load(file)
        constants = {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}
        transposed = [n.input[1] for n in model.graph.node if n.op_type == "ConvTranspose"]
        weights = weights_of(file)
        assert len(transposed) == 2
        for name in transposed:
            np.testing.assert_array_equal(
                weights[name], numpy_helper.to_array(constants[name]).swapaxes(0, 1)
            )

    def test_of_a_detector_agree_with_the_library(self):
        """nudenet 3.4.2, MIT: a YOLOv8, every convolution once and whole."""
        file = shipped("nudenet", "nudenet/320n.onnx")
        model = onnx.load(file)
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        wanted = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
        weights = weights_of(file)
        assert list(weights) == list(dict.fromkeys(wanted))
        assert all(np.array_equal(weights[name], stored[name]) for name in weights)

    def test_of_tf2onnx_agree_with_the_tflite_file_of_the_same_network(self):
        """basic-pitch 0.4.0, Apache-2.0."""
        folder = "basic_pitch/saved_models/icassp_2022"
        one = corrinit.estimate(shipped("basic-pitch", f"{folder}/nmp.onnx"))
        other = corrinit.estimate(shipped("basic-pitch", f"{folder}/nmp.tflite"))
        np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-5)


class Small(nn.Module):
    """Convolutions of many kinds."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16)
        self.grouped = nn.Conv2d(16, 32, 3, padding=1, groups=4, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.up = nn.ConvTranspose2d(32, 8, 4, stride=2)

    def forward(self, x):
        return self.up(torch.relu(self.norm(self.grouped(torch.relu(self.depthwise(self.stem(x)))))))


class TestExporters:
    @pytest.mark.parametrize("dynamo", [False, True])
    def test_of_pytorch_give_the_weights_of_the_module(self, tmp_path, dynamo):
        model = Small().eval()
        model.norm.running_var.fill_(1.0)
        torch.onnx.export(
            model, (torch.zeros(1, 3, 16, 16),), tmp_path / "small.onnx", dynamo=dynamo, verbose=False
        )
        expected, found = weights_of(model), weights_of(tmp_path / "small.onnx")
        assert [weight.shape for weight in found.values()] == [weight.shape for weight in expected.values()]
        for name in ("stem.weight", "depthwise.weight", "up.weight"):
            np.testing.assert_array_equal(found[name], expected[name])
        grouped = next(weight for weight in found.values() if weight.shape == (32, 4, 3, 3))
        ratio = grouped / expected["grouped.weight"]  # the norm after it is folded in, channel by channel
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1, :1], ratio.shape), rtol=1e-4)

    @pytest.mark.parametrize("per_channel", [False, True])
    def test_that_quantize_statically_give_the_weights_up_to_a_step(self, tmp_path, per_channel):
        torch.onnx.export(Small().eval(), (torch.zeros(1, 3, 16, 16),), tmp_path / "float.onnx", dynamo=False)

        class Images(quantization.CalibrationDataReader):
            def __init__(self):
                name = onnx.load(tmp_path / "float.onnx").graph.input[0].name
                self.left = iter([{name: np.random.default_rng(0).random((1, 3, 16, 16), np.float32)}])

            def get_next(self):
                return next(self.left, None)

        quantization.quantize_static(
            tmp_path / "float.onnx",
            tmp_path / "quantized.onnx",
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=per_channel,
            weight_type=quantization.QuantType.QInt8,
        )
        whole, quantized = weights_of(tmp_path / "float.onnx"), weights_of(tmp_path / "quantized.onnx")
        assert [w.shape for w in quantized.values()] == [w.shape for w in whole.values()]
        assert not read_filters(tmp_path / "quantized.onnx").left_out
        for one, other in zip(whole.values(), quantized.values(), strict=True):
            assert np.abs(one - other).max() <= 0.51 * np.abs(one).max() / 127 + 1e-7

    def test_that_optimize_for_one_machine_are_not_believed(self, tmp_path, filters):
        """onnxruntime then keeps filters in blocks of channels, under the shape that they had."""
        deep = np.tile(filters, (4, 4, 1, 1))
        shape = [1, 32, 16, 16]
        graph = helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(deep, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(tmp_path / "a.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (node, *_) = [n for n in onnx.load(tmp_path / "a.onnx").graph.node if n.op_type == "Conv"]
        if node.domain == "com.microsoft.nchwc":
            with pytest.raises(corrinit.CorrInitError, match=r"com\.microsoft\.nchwc\.Conv is not known"):
                corrinit.estimate(tmp_path / "a.onnx")
        else:  # on a machine for which there are no blocks
            np.testing.assert_array_equal(*weights_of(tmp_path / "a.onnx").values(), deep)

    def test_that_quantize_dynamically_give_the_weights_up_to_a_step(self, tmp_path):
        torch.onnx.export(Small().eval(), (torch.zeros(1, 3, 16, 16),), tmp_path / "float.onnx", dynamo=False)
        quantization.quantize_dynamic(
            tmp_path / "float.onnx", tmp_path / "quantized.onnx", op_types_to_quantize=["Conv"]
        )
        assert {"ConvInteger"} <= {n.op_type for n in onnx.load(tmp_path / "quantized.onnx").graph.node}
        one = weights_of(tmp_path / "float.onnx")["stem.weight"]
        other = next(w for w in weights_of(tmp_path / "quantized.onnx").values() if w.shape == one.shape)
        assert np.abs(one - other).max() <= 1.01 * np.ptp(one) / 255


class TestGraphs:
    def conv(self, weight="w", op="Conv", **attributes):
        return helper.make_node(op, ["x", weight], ["y"], name="layer/Conv", **attributes)

    def test_weights_that_are_transposed_and_reshaped_first(self, tmp_path, filters):
        stored = filters.transpose(2, 3, 1, 0).reshape(-1, 16)
        nodes = [
            helper.make_node("Reshape", ["w", "shape"], ["a"]),
            helper.make_node("Transpose", ["a"], ["b"], perm=[3, 2, 0, 1]),
            helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
            self.conv("c"),
        ]
        shape = numpy_helper.from_array(np.array([3, 3, -1, 16]), "shape")
        path = model_of(nodes, [numpy_helper.from_array(stored, "w"), shape], tmp_path / "a.onnx")
        np.testing.assert_array_equal(weights_of(path)["c"], filters)

    @pytest.mark.parametrize("blocks", [False, True])
    def test_scales_along_an_axis(self, tmp_path, filters, blocks):
        q = np.clip(np.rint(filters * 40), -127, 127).astype(np.int8)
        scale = np.linspace(0.01, 0.2, 4 if blocks else 16).astype(np.float32)
        zero = np.arange(4 if blocks else 16).astype(np.int8)
        if blocks:  # one scale for four outputs each
            scale, zero = (
                np.broadcast_to(a[:, None, None, None], (4, 8, 3, 3)).copy() for a in (scale, zero)
            )
        options = {"block_size": 4} if blocks else {}
        nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0, **options), self.conv()]
        constants = [numpy_helper.from_array(a, n) for a, n in ((q, "q"), (scale, "s"), (zero, "z"))]
        path = model_of(nodes, constants, tmp_path / "a.onnx")
        graph = onnx.load(path)
        del graph.graph.node[1]
        graph.graph.output[0].name = "w"
        expected = onnxruntime.InferenceSession(graph.SerializeToString()).run(
            None, {"x": np.zeros(1, np.float32)}
        )
        np.testing.assert_allclose(weights_of(path)["w"], expected[0], rtol=1e-6)

    def test_weights_that_are_rounded_and_scaled_back(self, tmp_path, filters):
        nodes = [
            helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            self.conv("d"),
        ]
        scale, zero = np.float32(0.02), np.int8(3)
        constants = [
            numpy_helper.from_array(np.asarray(a), n) for a, n in ((filters, "w"), (scale, "s"), (zero, "z"))
        ]
        found = weights_of(model_of(nodes, constants, tmp_path / "a.onnx"))["d"]
        expected = (np.clip(np.rint(filters / scale) + 3, -128, 127) - 3) * scale
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    @pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN])
    def test_numbers_of_few_bits(self, tmp_path, filters, kind):
        stored = helper.make_tensor("w", kind, filters.shape, np.rint(filters).clip(-7, 7).ravel())
        expected = numpy_helper.to_array(stored).astype(np.float32)
        nodes = [self.conv()]
        if kind == TensorProto.INT4:
            nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"]), *nodes]
            stored.name = "q"
        constants = [stored, numpy_helper.from_array(np.asarray(np.float32(1)), "s")]
        found = weights_of(model_of(nodes, constants, tmp_path / "a.onnx"))["w"]
        np.testing.assert_array_equal(found, expected)

    def test_functions_of_the_file(self, tmp_path, filters):
        function = helper.make_function(
            "own",
            "Block",
            ["a", "b"],
            ["c"],
            [helper.make_node("Conv", ["a", "b"], ["c"])],
            [helper.make_opsetid("", 21)],
        )
        graph = helper.make_graph(
            [helper.make_node("Block", ["x", "w"], ["y"], domain="own")],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 9, 9])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(filters, "w")],
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
        onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets), tmp_path / "a.onnx")
        np.testing.assert_array_equal(weights_of(tmp_path / "a.onnx")["w"], filters)

    def test_what_is_not_stored_is_left_out_with_the_reason(self, tmp_path, filters):
        nodes = [
            helper.make_node("Mul", ["w", "w"], ["squared"]),
            helper.make_node("Conv", ["x", "squared"], ["a"]),
            helper.make_node("Conv", ["a", "given"], ["b"]),
            helper.make_node("Conv", ["b", "w"], ["c"]),
            helper.make_node("NhwcConv", ["c", "v"], ["d"], domain="com.microsoft"),
            helper.make_node("Conv", ["d", "u"], ["y"], domain="com.microsoft.nchwc"),
        ]
        constants = [numpy_helper.from_array(filters, name) for name in ("w", "v", "u", "table")]
        path = model_of(nodes, constants, tmp_path / "a.onnx", inputs=("x", "given"))
        found = read_filters(path)
        assert [each.name for each in found.filters] == ["w"]
        reasons = dict(found.left_out)
        assert "computed by Mul" in reasons["squared"]
        assert "input of the graph" in reasons["given"]
        assert "com.microsoft.NhwcConv is not known" in reasons["v"]
        assert "com.microsoft.nchwc.Conv is not known" in reasons["u"]
        assert "no convolution" in reasons["table"]

    @pytest.mark.parametrize(
        ("operator", "inputs", "outputs"),
        [
            ("Unsqueeze", ["w", "twice"], ["a"]),
            ("Squeeze", ["twice", "twice"], ["a"]),
            ("Identity", ["w"], []),
        ],
    )
    def test_nodes_that_do_not_fit_are_an_error(self, tmp_path, filters, operator, inputs, outputs):
        nodes = [helper.make_node(operator, inputs, outputs), self.conv("a")]
        constants = [
            numpy_helper.from_array(filters, "w"),
            numpy_helper.from_array(np.array([0, 0]), "twice"),
        ]
        path = model_of(nodes, constants, tmp_path / "a.onnx")
        with pytest.raises(corrinit.CorrInitError):
            corrinit.estimate(path)

    def test_integers_without_a_scale_are_left_out(self, tmp_path, filters):
        q = numpy_helper.from_array(np.rint(filters * 40).astype(np.uint8), "q")
        path = model_of([helper.make_node("ConvInteger", ["x", "q"], ["y"])], [q], tmp_path / "a.onnx")
        with pytest.raises(corrinit.CorrInitError, match="q: it is quantized, and its scale is not stored"):
            corrinit.estimate(path)


class TestExternalData:
    def save(self, tmp_path, filters):
        path = model_of(
            [helper.make_node("Conv", ["x", "w"], ["y"])],
            [numpy_helper.from_array(filters, "w")],
            tmp_path / "a.onnx",
        )
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="a.bin", size_threshold=0)
        return path

    def test_is_read(self, tmp_path, filters):
        np.testing.assert_array_equal(weights_of(self.save(tmp_path, filters))["w"], filters)

    def test_that_is_missing_is_named(self, tmp_path, filters):
        path = self.save(tmp_path, filters)
        (tmp_path / "a.bin").unlink()
        with pytest.raises(
            corrinit.CorrInitError, match=r"w: its values are in the file a\.bin, which is not there"
        ):
            corrinit.estimate(path)

    def test_that_was_cut_off_is_an_error(self, tmp_path, filters):
        path = self.save(tmp_path, filters)
        (tmp_path / "a.bin").write_bytes((tmp_path / "a.bin").read_bytes()[:-100])
        with pytest.raises(corrinit.CorrInitError, match=r"the tensor w ends at byte [\d,]+ of a\.bin"):
            corrinit.estimate(path)

    @pytest.mark.parametrize("location", ["/etc/passwd", "../other.bin"])
    def test_outside_of_the_folder_is_not_opened(self, tmp_path, filters, location):
        folder = tmp_path / "folder"
        folder.mkdir()
        path = self.save(folder, filters)
        (tmp_path / "other.bin").write_bytes((folder / "a.bin").read_bytes())
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].external_data[0].value = location
        path.write_bytes(model.SerializeToString())
        with pytest.raises(corrinit.CorrInitError, match="no part of another file"):
            corrinit.estimate(path)


class TestDamagedFiles:
    @pytest.mark.parametrize("within", [None, 400])
    def test_end_in_one_line(self, tmp_path, within):
        content = shipped("silero-vad", "silero_vad/data/silero_vad_16k_op15.onnx").read_bytes()
        path = tmp_path / "damaged.onnx"
        lines = set()
        for damaged in mutations(content, 150, within=within):
            path.write_bytes(damaged)
            lines.add(outcome(path))
        assert len(lines) > 2

    @pytest.mark.parametrize("name", [b"filters", b"node", b"location"])
    def test_a_name_that_is_no_text(self, tmp_path, filters, name):
        stored = numpy_helper.from_array(filters, "filters")
        stored.external_data.add(key="location", value="elsewhere")
        node = helper.make_node("Conv", ["x", "filters"], ["y"], name="node")
        path = model_of([node], [stored], tmp_path / "a.onnx")
        path.write_bytes(path.read_bytes().replace(name, b"\xff" + name[1:]))
        with pytest.raises(corrinit.CorrInitError, match="damaged"):
            corrinit.estimate(path)

    def test_a_shape_that_promises_more_values(self, tmp_path, filters):
        stored = numpy_helper.from_array(filters, "w")
        stored.dims[0] = 1 << 40
        path = model_of([helper.make_node("Conv", ["x", "w"], ["y"])], [stored], tmp_path / "a.onnx")
        with pytest.raises(corrinit.CorrInitError, match="has 4,608 bytes, not"):
            corrinit.estimate(path)
