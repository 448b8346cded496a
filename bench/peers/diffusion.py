"""Stable Diffusion's nets in diffusers and OpenVINO, from one folder of random weights that every side reads.

python3 diffusion.py make FOLDER sd15|small [--fp16]                                    writes the folder (sd15: 4.3 GB, float16 too: 6.4 GB)
python3 diffusion.py run FOLDER unet|vae|text|step diffusers|openvino float32|bfloat16 BATCH CALLS THREADS

run: a line about itself when ready, then a round per line on standard input: { seconds (of one call), peakMb }. A round is CALLS calls:
  unet   one UNet call on BATCH latents (guidance counts twice)         vae   decoding BATCH latents
  text   encoding BATCH prompts of 77 tokens                            step  nothing: ready tells the seconds from the folder to the first finished step,
                                                                              without those of importing and converting, which it tells too
OpenVINO's models are converted once, in a process of their own, and kept beside the weights; ready tells what that took.
"""
import argparse
import functools
import json
import pathlib
import resource
import subprocess
import sys
import time

ALPHAS = (0.1, 0.2)  # of the step's two timesteps: any will do for its time
TOKENS, WORDS = 77, 49408


def peak_mb():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def say(**fields):
    print(json.dumps(fields), flush=True)


def configuration(folder, part):
    return json.loads((folder / {"unet": "unet", "vae": "vae", "text": "text_encoder"}[part] / "config.json").read_text())


def inputs(folder, part, batch):
    """The arguments of one call, as numpy arrays."""
    import numpy as np

    rng = np.random.default_rng(1)
    unet = configuration(folder, "unet")
    side, width = unet["sample_size"], unet["cross_attention_dim"]
    latents = rng.standard_normal((batch, 4, side, side), np.float32)
    if part == "vae":
        return [latents]
    if part == "text":
        return [rng.integers(0, WORDS - 2, (batch, TOKENS))]
    return [latents, np.full((batch,), 500, np.int64), rng.standard_normal((batch, TOKENS, width), np.float32)]


# ---- diffusers


@functools.cache
def diffusers_classes():
    """Imports them beside a torchvision whose compiled operators do not fit this torch."""
    import torchvision_ops  # noqa: F401, I001  before the packages that import torchvision
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    return {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}


def load_module(folder, part, dtype):
    """A module: tensors in, one tensor out."""
    import torch

    class Plain(torch.nn.Module):
        def __init__(self, inner, call):
            super().__init__()
            self.inner, self.call = inner, call

        def forward(self, *tensors):
            return self.call(self.inner, *tensors)

    load = lambda name: diffusers_classes()[name].from_pretrained(folder / name, torch_dtype=getattr(torch, dtype), local_files_only=True).eval()
    if part == "unet":
        plain = Plain(load("unet"), lambda net, x, t, context: net(x, t, context, return_dict=False)[0])
    elif part == "vae":
        net = load("vae")
        net.encoder = None  # only the decoder's memory counts
        plain = Plain(net, lambda net, z: net.decode(z, return_dict=False)[0])
    else:
        plain = Plain(load("text_encoder"), lambda net, ids: net(ids, return_dict=False)[0])
    return plain


def diffusers_call(folder, part, dtype, batch, threads):
    """A function that runs one call, and what is to be told."""
    import torch

    torch.set_num_threads(threads)
    diffusers_classes()
    begin = time.perf_counter()
    module = load_module(folder, part, dtype)
    kind = getattr(torch, dtype)
    tensors = [torch.from_numpy(a) for a in inputs(folder, part, batch)]
    tensors = [a.to(kind) if a.is_floating_point() else a for a in tensors]
    if dtype == "bfloat16":  # the faster layout there
        module = module.to(memory_format=torch.channels_last)
        tensors = [a.contiguous(memory_format=torch.channels_last) if a.ndim == 4 else a for a in tensors]

    def call(*replaced):
        with torch.inference_mode():
            return module(*(replaced or tensors))

    return call, {"engine": f"diffusers {dtype}", "torch": torch.__version__, "loadSeconds": time.perf_counter() - begin}


# ---- OpenVINO


def convert(folder, part, batch, path):
    import openvino
    import torch

    module = load_module(folder, part, "float32")
    tensors = tuple(torch.from_numpy(a) for a in inputs(folder, part, batch))
    begin = time.perf_counter()
    with torch.no_grad():
        model = openvino.convert_model(module, example_input=tensors, input=[list(a.shape) for a in tensors])
    openvino.save_model(model, path, compress_to_fp16=False)
    path.with_suffix(".json").write_text(json.dumps({"convertSeconds": time.perf_counter() - begin, "convertPeakMb": peak_mb()}))


def converted(folder, part, batch):
    """The file of the converted model and what converting took; torch stays out of this process."""
    path = folder / "openvino" / f"{part}-{batch}.xml"
    report = path.with_suffix(".json")
    if not report.exists():
        path.parent.mkdir(exist_ok=True)
        subprocess.run([sys.executable, __file__, "convert", folder, part, str(batch)], check=True, stdout=sys.stderr)
    return path, json.loads(report.read_text())


def openvino_call(folder, part, dtype, batch, threads):
    import openvino

    path, report = converted(folder, part, batch)
    begin = time.perf_counter()
    hint = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1})
    request, feed = compiled.create_infer_request(), inputs(folder, part, batch)

    def call(*replaced):
        return request.infer(list(replaced or feed), share_inputs=True)[0]

    return call, {"engine": f"OpenVINO {dtype}", "openvino": openvino.__version__, **report, "compileSeconds": time.perf_counter() - begin}


CALLS = {"diffusers": diffusers_call, "openvino": openvino_call}


def ddim_step(latents, noise):
    """With guidance and eta 0; arrays of numpy or tensors."""
    uncond, cond = noise[:1], noise[1:]
    eps = uncond + 7.5 * (cond - uncond)
    now, then = ALPHAS
    x0 = (latents - (1 - now) ** 0.5 * eps) / now**0.5
    return then**0.5 * x0 + (1 - then) ** 0.5 * eps


def first_step(folder, engine, dtype, threads):
    """From the folder: two prompts encoded, one UNet call with guidance, one step. Imports and conversion are told apart."""
    begin = time.perf_counter()
    if engine == "diffusers":
        import torch

        diffusers_classes()
        join, imported = (lambda x: torch.cat([x, x])), time.perf_counter() - begin
    else:
        import numpy as np
        import openvino  # noqa: F401

        join, imported = (lambda x: np.concatenate([x, x])), time.perf_counter() - begin
        for part in ("text", "unet"):
            converted(folder, part, 2)
    begin = time.perf_counter()
    text, told_text = CALLS[engine](folder, "text", dtype, 2, threads)
    context = text()
    unet, told = CALLS[engine](folder, "unet", dtype, 2, threads)
    latents, timestep, _ = inputs(folder, "unet", 2)
    if engine == "diffusers":
        latents, timestep = torch.from_numpy(latents).to(context.dtype), torch.from_numpy(timestep)
    ddim_step(latents[:1], unet(join(latents[:1]), timestep, context))
    seconds = time.perf_counter() - begin
    told["convertSeconds"] = told_text.get("convertSeconds", 0) + told.get("convertSeconds", 0)
    say(**told, importSeconds=imported, seconds=seconds, peakMb=peak_mb())


def run(folder, part, engine, dtype, batch, calls, threads):
    if part == "step":
        return first_step(folder, engine, dtype, threads)
    call, told = CALLS[engine](folder, part, dtype, batch, threads)
    call()
    say(**told, peakMb=peak_mb())
    for _ in sys.stdin:
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        say(seconds=(time.perf_counter() - begin) / calls, peakMb=peak_mb())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("folder", type=pathlib.Path)
    make.add_argument("size", choices=["sd15", "small"])
    make.add_argument("--fp16", action="store_true", help="write the float16 variant as well")
    one = commands.add_parser("run")
    one.add_argument("folder", type=pathlib.Path)
    one.add_argument("part", choices=["unet", "vae", "text", "step"])
    one.add_argument("engine", choices=list(CALLS))
    one.add_argument("dtype", choices=["float32", "bfloat16"])
    for name in ("batch", "calls", "threads"):
        one.add_argument(name, type=int)
    ir = commands.add_parser("convert")
    ir.add_argument("folder", type=pathlib.Path)
    ir.add_argument("part", choices=["unet", "vae", "text"])
    ir.add_argument("batch", type=int)
    options = vars(parser.parse_args())
    command = options.pop("command")
    if command == "make":
        from diffusion_folder import write_folder

        return write_folder(**options)
    if command == "convert":
        return convert(**options, path=options["folder"] / "openvino" / f"{options['part']}-{options['batch']}.xml")
    return run(**options)


if __name__ == "__main__":
    main()
