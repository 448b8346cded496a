"""Learning rates, mixed batches and soft targets, by timm."""
import torchvision_ops  # noqa: F401, I001  before timm, which imports torchvision
import torch
from common import ramp, write
from timm.data.mixup import mixup_target
from timm.scheduler import CosineLRScheduler


def rates(base, warmup, minimum, warmup_steps, total, at):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    schedule = CosineLRScheduler(optimiser, t_initial=total, lr_min=minimum, warmup_t=warmup_steps, warmup_lr_init=warmup, warmup_prefix=False, t_in_epochs=False)
    return {
        "schedule": {"lr": base, "warmupLr": warmup, "minLr": minimum, "warmupSteps": warmup_steps, "steps": total},
        "rates": [[t, schedule._get_lr(t)[0]] for t in at],
    }


pixels = torch.from_numpy(ramp(3, (4, 3, 8, 8)))
labels = torch.tensor([0, 2, 1, 3])
lam, box = 0.3, (2, 6, 1, 5)  # top, bottom, left, right
cut = pixels.clone()
cut[:, :, box[0] : box[1], box[2] : box[3]] = pixels.flip(0)[:, :, box[0] : box[1], box[2] : box[3]]
cut_lam = 1 - (box[1] - box[0]) * (box[3] - box[2]) / 64
write(
    "train_parts",
    {
        "schedules": [
            rates(5e-4, 5e-7, 5e-6, 5, 80_000, [0, 1, 2, 4, 5, 20_000, 40_000, 60_000, 79_999]),
            rates(1e-3, 1e-6, 1e-5, 100, 1_000, [0, 1, 50, 99, 100, 500, 999, 1000]),
            rates(1e-2, 1e-6, 0.0, 0, 10, list(range(11))),
        ],
        "mixup": {"lambda": lam, "pixels": (pixels * lam + pixels.flip(0) * (1 - lam)).flatten().tolist(), "targets": mixup_target(labels, 5, lam, 0.1).tolist()},
        "cutmix": {"lambda": cut_lam, "box": list(box), "pixels": cut.flatten().tolist(), "targets": mixup_target(labels, 5, cut_lam, 0.1).tolist()},
        "smoothing": mixup_target(labels[:1], 1000, 1.0, 0.1)[0, :2].tolist(),
    },
)
