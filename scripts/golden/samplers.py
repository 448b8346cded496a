"""Samplers and noise schedules, by diffusers' schedulers, and the sums that diffusers' own tests state.

    pip install diffusers==0.42.1 scipy requests
"""
import diffusers
import torch
from common import ramp, write

SHAPE = (2, 4, 2, 2)
SEED = 5  # image i: SEED + i
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
V = {"prediction_type": "v_prediction"}
X0 = {"prediction_type": "sample"}
TRAILING = {"timestep_spacing": "trailing"}
LEADING = {"timestep_spacing": "leading", "steps_offset": 1}
LINSPACE = {"timestep_spacing": "linspace"}
ZERO_SNR = {"rescale_betas_zero_snr": True, **TRAILING, **V}
KARRAS = {"use_karras_sigmas": True}
EXPONENTIAL = {"use_exponential_sigmas": True}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
STOCHASTIC = ("DDPM", "EulerAncestralDiscrete", "LCM")


def dummy(x, t):
    """The model of diffusers' tests."""
    return x * t / (t + 1)


def smooth(x, t):
    """Bounded, not linear, different at each timestep."""
    return 0.5 * x * torch.cos(torch.as_tensor(t, dtype=torch.float64) / 300).float() + 0.2 * torch.sin(2 * x) + 0.1


PREDICTORS = {"dummy": dummy, "smooth": smooth}


def short(tensor):
    return [float(f"{v:.8g}") for v in torch.as_tensor(tensor).double().flatten().tolist()]


def make(name, config):
    return getattr(diffusers, name + "Scheduler")(**config)


def step_options(name, scheduler, generators, eta):
    if name in STOCHASTIC or scheduler.config.get("algorithm_type") == "sde-dpmsolver++":
        return {"generator": generators}
    return {"eta": eta, "generator": generators} if name == "DDIM" and eta else {}


def begin(name, scheduler, start):
    """Tells the scheduler where in its plan the run begins. It would look for the timestep, which may be there twice."""
    if name == "LMSDiscrete" and start:
        # It takes its order from the place in the whole plan, though a run that begins in the middle has no past. A plan
        # that ends the same way and begins here is what is meant.
        scheduler.sigmas, scheduler.timesteps = scheduler.sigmas[start:], scheduler.timesteps[start:]
    elif hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start * scheduler.order)


def loop(name, scheduler, x, timesteps, predict, generators=None, eta=0.0, keep_scaled=False):
    """`keep_scaled`: the step gets what the model saw, as in diffusers' tests (but not in its pipelines)."""
    for t in timesteps:
        seen = scheduler.scale_model_input(x, t)
        x = scheduler.step(predict(seen, t), t, seen if keep_scaled else x, **step_options(name, scheduler, generators, eta)).prev_sample
    return x


def set_steps(scheduler, steps, timesteps=None, sigmas=None):
    if timesteps is not None:
        scheduler.set_timesteps(timesteps=timesteps)
    elif sigmas is not None:
        scheduler.set_timesteps(sigmas=sigmas)
    else:
        scheduler.set_timesteps(steps)
    spread = scheduler.config.get("use_exponential_sigmas") or scheduler.config.get("use_karras_sigmas")
    if spread and scheduler.timesteps.dtype == torch.int64 and scheduler.timesteps[0] == 998:
        scheduler.timesteps[0] = 999  # truncated from 998.99998, the last timestep after rounding errors in float32


def case(name, config, steps=10, predictor="smooth", strength=None, eta=0.0, timesteps=None, sigmas=None, train=1000):
    config = {"num_train_timesteps": train, **SD, **config}
    scheduler = make(name, config)
    set_steps(scheduler, steps, timesteps, sigmas)
    generators = [torch.Generator().manual_seed(SEED + i) for i in range(SHAPE[0])]
    noise = torch.cat([torch.randn((1, *SHAPE[1:]), generator=g) for g in generators])
    out = {"name": name, "config": {"_class_name": name + "Scheduler", **config}, "predictor": predictor}
    start = 0 if strength is None else steps - min(int(steps * strength), steps)
    begin(name, scheduler, start)
    if strength is None:
        x = noise * scheduler.init_noise_sigma
    else:
        first = scheduler.timesteps[start * scheduler.order if name != "LMSDiscrete" else 0 :][:1]
        x = scheduler.add_noise(torch.from_numpy(ramp(2, SHAPE)), noise, first)
        out["strength"] = strength
    if timesteps is None and sigmas is None:
        out["steps"] = steps
    visited = scheduler.timesteps[start * scheduler.order if name != "LMSDiscrete" else 0 :]
    result = loop(name, scheduler, x, visited, PREDICTORS[predictor], generators, eta)
    assert torch.isfinite(result).all(), out
    for key, value in (("eta", eta), ("timesteps", timesteps), ("sigmas", sigmas)):
        if value:
            out[key] = value
    out["asked"] = short(visited)  # the timesteps the network is asked at
    out["result"] = short(result)
    return out


# Name, predictions, and variants beside the default one.
SAMPLERS = [
    ("DDIM", [{}, V, X0], [TRAILING, LEADING, LINSPACE, COSINE, ZERO_SNR, {"set_alpha_to_one": False, **LEADING}, {"thresholding": True, "sample_max_value": 1.5}]),
    ("DDPM", [{}, V, X0], [TRAILING, LEADING, LINSPACE, COSINE, ZERO_SNR, {"variance_type": "fixed_large"}]),
    ("PNDM", [{}, V], [TRAILING, LEADING, LINSPACE, {"skip_prk_steps": True}, {"skip_prk_steps": True, "set_alpha_to_one": False, **LEADING}, {"skip_prk_steps": True, **V}]),
    ("EulerDiscrete", [{}, V, X0], [TRAILING, LEADING, KARRAS, EXPONENTIAL, {**KARRAS, "sigma_min": 0.1, "sigma_max": 10.0}, COSINE, ZERO_SNR, {"final_sigmas_type": "sigma_min"}]),
    ("EulerAncestralDiscrete", [{}, V], [TRAILING, LEADING, COSINE, ZERO_SNR]),
    ("HeunDiscrete", [{}, V, X0], [TRAILING, LEADING, KARRAS, EXPONENTIAL, COSINE, {"clip_sample": True}]),
    ("KDPM2Discrete", [{}, V], [TRAILING, LEADING, KARRAS, EXPONENTIAL, COSINE]),
    ("LMSDiscrete", [{}, V, X0], [TRAILING, LEADING, KARRAS, EXPONENTIAL, COSINE]),
    ("LCM", [{}, V, X0], [{"original_inference_steps": 100, "timestep_scaling": 5.0}, {**V, "rescale_betas_zero_snr": True}, {"clip_sample": True}]),
    (
        "DPMSolverMultistep",
        [{}, V, X0],
        [TRAILING, LEADING, KARRAS, EXPONENTIAL, {**KARRAS, **COSINE}, ZERO_SNR, {"solver_type": "heun"}, {"lower_order_final": False}, {"final_sigmas_type": "sigma_min"}]
        + [{"algorithm_type": "sde-dpmsolver++", **c} for c in ({}, V, X0, TRAILING, KARRAS, EXPONENTIAL, ZERO_SNR, {"solver_type": "heun"})],
    ),
    ("UniPCMultistep", [{}, V, X0], [TRAILING, LEADING, KARRAS, EXPONENTIAL, ZERO_SNR, {"solver_type": "bh1", "final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "sigma_min", "lower_order_final": False}]),
]


def loops():
    for name, predictions, variants in SAMPLERS:
        for config in predictions + variants:
            clip = {} if "clip_sample" in config or name not in ("DDIM", "DDPM") else {"clip_sample": False}
            yield case(name, {**clip, **config})
        for steps in (1, 2, 25) if name != "PNDM" else (4, 25):
            yield case(name, {"clip_sample": False} if name in ("DDIM", "DDPM") else {}, steps=steps)
        skip = {"skip_prk_steps": True, **LEADING} if name == "PNDM" else {}
        yield case(name, {**({"clip_sample": False} if name in ("DDIM", "DDPM") else {}), **skip}, strength=0.6)
    yield case("DDIM", {"clip_sample": False}, eta=0.5)
    yield case("DDIM", {}, eta=1.0)
    yield case("DDIM", V, predictor="dummy")
    yield case("DPMSolverMultistep", {"euler_at_final": True, "final_sigmas_type": "sigma_min"}, steps=20)
    lists = [999, 850, 400, 250, 10]
    for name in ("DDPM", "LCM", "EulerDiscrete", "HeunDiscrete", "DPMSolverMultistep"):
        yield case(name, {"clip_sample": False} if name == "DDPM" else {}, timesteps=lists)
    yield case("EulerDiscrete", {}, sigmas=[14.0, 7.5, 3.0, 1.0, 0.2, 0.0])


def schedules():
    """alphas_cumprod of every hundredth timestep, and the sigmas of the steps."""
    for config in (SD, {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}, COSINE, {**SD, "rescale_betas_zero_snr": True}, {"trained_betas": [0.01 + 0.001 * i for i in range(20)], "num_train_timesteps": 20}):
        scheduler = make("EulerDiscrete", config)
        exact = make("DDIM", config)
        every = max(1, len(exact.alphas_cumprod) // 10)
        scheduler.set_timesteps(10)
        yield {
            "config": {"_class_name": "EulerDiscreteScheduler", **config},
            "every": every,
            "alphasCumprod": short(exact.alphas_cumprod[::every]),
            "last": short(exact.alphas_cumprod[-1:])[0],
            "timesteps": short(scheduler.timesteps),
            "sigmas": short(scheduler.sigmas),
        }
    for name, config in [(n, {**SD, **c}) for n in ("EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep", "HeunDiscrete", "LMSDiscrete", "KDPM2Discrete") for c in (KARRAS, EXPONENTIAL, TRAILING, LEADING)]:
        scheduler = make(name, config)
        set_steps(scheduler, 12)
        every = scheduler.order
        sigmas = scheduler.sigmas if every == 1 else torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1::2]])[:13]
        yield {"config": {"_class_name": name + "Scheduler", **config}, "steps": 12, "timesteps": short(scheduler.timesteps[::every]), "sigmas": short(sigmas)}


# What the tests of diffusers state: file, test, class, config, steps, sum, mean and where the run begins.
LINEAR = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
LONG = {**LINEAR, "num_train_timesteps": 1100}
DDIM = {**LINEAR, "clip_sample": True}
DPM = {**LINEAR, "lower_order_final": False, "final_sigmas_type": "sigma_min"}
UNIPC = {**LINEAR, "final_sigmas_type": "sigma_min"}
FIRST = {"beta_start": 0.01}
STATED = [
    ("ddim", "test_full_loop_no_noise", "DDIM", DDIM, 10, 172.0067, 0.223967),
    ("ddim", "test_full_loop_with_v_prediction", "DDIM", {**DDIM, **V}, 10, 52.5302, 0.0684),
    ("ddim", "test_full_loop_with_set_alpha_to_one", "DDIM", {**DDIM, **FIRST, "set_alpha_to_one": True}, 10, 149.8295, 0.1951),
    ("ddim", "test_full_loop_with_no_set_alpha_to_one", "DDIM", {**DDIM, **FIRST, "set_alpha_to_one": False}, 10, 149.0784, 0.1941),
    ("ddim", "test_full_loop_with_noise", "DDIM", DDIM, 10, 354.5418, 0.4616, 8),
    ("ddpm", "test_full_loop_no_noise", "DDPM", DDIM, 1000, 258.9606, 0.3372),
    ("ddpm", "test_full_loop_with_v_prediction", "DDPM", {**DDIM, **V}, 1000, 202.0296, 0.2631),
    ("ddpm", "test_full_loop_with_noise", "DDPM", DDIM, 1000, 387.9466, 0.5051, 998),
    ("pndm", "test_full_loop_no_noise", "PNDM", LINEAR, 10, 198.1318, 0.2580),
    ("pndm", "test_full_loop_with_v_prediction", "PNDM", {**LINEAR, **V}, 10, 67.3986, 0.0878),
    ("pndm", "test_full_loop_with_set_alpha_to_one", "PNDM", {**LINEAR, **FIRST, "set_alpha_to_one": True}, 10, 230.0399, 0.2995),
    ("pndm", "test_full_loop_with_no_set_alpha_to_one", "PNDM", {**LINEAR, **FIRST, "set_alpha_to_one": False}, 10, 186.9482, 0.2434),
    ("euler", "test_full_loop_no_noise", "EulerDiscrete", LONG, 10, 10.0807, 0.0131),
    ("euler", "test_full_loop_with_v_prediction", "EulerDiscrete", {**LONG, **V}, 10, 0.0002, 2.2676e-06),
    ("euler", "test_full_loop_device_karras_sigmas", "EulerDiscrete", {**LONG, **KARRAS}, 10, 124.52299499511719, 0.16213932633399963),
    ("euler", "test_full_loop_with_noise", "EulerDiscrete", LONG, 10, 57062.9297, 74.3007, 8),
    ("euler_ancestral", "test_full_loop_no_noise", "EulerAncestralDiscrete", LONG, 10, 152.3192, 0.1983),
    ("euler_ancestral", "test_full_loop_with_v_prediction", "EulerAncestralDiscrete", {**LONG, **V}, 10, 108.4439, 0.1412),
    ("euler_ancestral", "test_full_loop_with_noise", "EulerAncestralDiscrete", LONG, 10, 56163.0508, 73.1290, 8),
    ("heun", "test_full_loop_no_noise", "HeunDiscrete", LONG, 10, 0.1233, 0.0002),
    ("heun", "test_full_loop_with_v_prediction", "HeunDiscrete", {**LONG, **V}, 10, 4.6934e-07, 6.1112e-10),
    ("heun", "test_full_loop_device_karras_sigmas", "HeunDiscrete", {**LONG, **KARRAS}, 10, 0.00015, 1.9869554535034695e-07),
    ("heun", "test_full_loop_with_noise", "HeunDiscrete", LONG, 10, 75074.8906, 97.7538, 8),
    ("kdpm2_discrete", "test_full_loop_no_noise", "KDPM2Discrete", LONG, 10, 20.4125, 0.0266),
    ("kdpm2_discrete", "test_full_loop_with_v_prediction", "KDPM2Discrete", {**LONG, **V}, 10, 4.6934e-07, 6.1112e-10),
    ("kdpm2_discrete", "test_full_loop_with_noise", "KDPM2Discrete", LONG, 10, 70408.4062, 91.6776, 8),
    ("lms", "test_full_loop_no_noise", "LMSDiscrete", LONG, 10, 1006.388, 1.31),
    ("lms", "test_full_loop_with_v_prediction", "LMSDiscrete", {**LONG, **V}, 10, 0.0017, 2.2676e-06),
    ("lms", "test_full_loop_device_karras_sigmas", "LMSDiscrete", {**LONG, **KARRAS}, 10, 3812.9927, 4.9648),
    ("lcm", "test_full_loop_onestep", "LCM", {"num_train_timesteps": 1000, **SD}, 1, 18.7097, 0.0244),
    ("lcm", "test_full_loop_multistep", "LCM", {"num_train_timesteps": 1000, **SD}, 10, 197.7616, 0.2575),
    ("dpm_multi", "test_full_loop_no_noise", "DPMSolverMultistep", DPM, 10, None, 0.3301),
    ("dpm_multi", "test_full_loop_no_noise_thres", "DPMSolverMultistep", {**DPM, "thresholding": True, "dynamic_thresholding_ratio": 0.87, "sample_max_value": 0.5}, 10, None, 1.1364),
    ("dpm_multi", "test_full_loop_with_v_prediction", "DPMSolverMultistep", {**DPM, **V}, 10, None, 0.2251),
    ("dpm_multi", "test_full_loop_with_karras_and_v_prediction", "DPMSolverMultistep", {**DPM, **V, **KARRAS}, 10, None, 0.2096),
    ("dpm_multi", "test_full_loop_with_noise", "DPMSolverMultistep", DPM, 10, 318.4111, 0.4146, 5),
    ("unipc", "test_full_loop_no_noise", "UniPCMultistep", UNIPC, 10, None, 0.2464),
    ("unipc", "test_full_loop_with_karras", "UniPCMultistep", {**UNIPC, **KARRAS}, 10, None, 0.2925),
    ("unipc", "test_full_loop_with_v_prediction", "UniPCMultistep", {**UNIPC, **V}, 10, None, 0.1014),
    ("unipc", "test_full_loop_with_karras_and_v_prediction", "UniPCMultistep", {**UNIPC, **V, **KARRAS}, 10, None, 0.1966),
    ("unipc", "test_full_loop_with_noise", "UniPCMultistep", UNIPC, 10, 315.5757, 0.4109, 8),
]


def stated(file, test, name, config, steps, total, mean, start=0):
    """Runs diffusers' loop and checks that it gives what diffusers' test states."""
    ordered = torch.arange(768) / 768
    x = ordered.reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
    noise = (torch.arange(768).flip(-1) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
    scheduler = make(name, config)
    scheduler.set_timesteps(steps)
    generator = torch.manual_seed(0)
    x = x * scheduler.init_noise_sigma
    timesteps = scheduler.timesteps[start * scheduler.order :]
    if start:
        x = scheduler.add_noise(x, noise, timesteps[:1])
    result = loop(name, scheduler, x, timesteps, dummy, generator, keep_scaled=True).abs()
    label = f"tests/schedulers/test_scheduler_{file}.py {test}"
    if total is not None:
        assert abs(result.sum().item() - total) < 1e-2, (label, result.sum().item())
    if mean is not None:
        assert abs(result.mean().item() - mean) < 1e-3, (label, result.mean().item())
    out = {"test": label, "config": {"_class_name": name + "Scheduler", **config}, "steps": steps, "start": start, "sum": total, "mean": mean}
    return {**out, "initSigma": float(scheduler.init_noise_sigma)}


write("samplers", {"seed": SEED, "shape": SHAPE, "loops": list(loops()), "schedules": list(schedules()), "stated": [stated(*row) for row in STATED]})
