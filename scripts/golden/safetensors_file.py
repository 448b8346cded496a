"""A file written by the safetensors library, with every element type that we read."""
import base64

import numpy as np
import torch
from common import ramp, write
from safetensors.torch import save

tensors = {
    "b.weight": torch.from_numpy(ramp(1, (2, 3))),
    "a.weight": torch.from_numpy(ramp(2, (4,))).to(torch.float64),
    "half": torch.tensor([1.0, -2.5, 0.125], dtype=torch.float16),
    "brain": torch.tensor([1.0, -2.5, 0.125], dtype=torch.bfloat16),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "small": torch.tensor([-3, 3], dtype=torch.int8),
    "ints": torch.tensor([[-70000], [70000]], dtype=torch.int32),
    "longs": torch.tensor([2**40, -(2**40)], dtype=torch.int64),
    "flags": torch.tensor([True, False]),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
}
file = save(tensors, metadata={"format": "pt", "note": "gruß"})
values = {name: value.to(torch.float64).flatten().tolist() for name, value in tensors.items()}
shapes = {name: list(value.shape) for name, value in tensors.items()}
assert np.isfinite(sum(map(sum, values.values())))
write("safetensors", {"base64": base64.b64encode(file).decode(), "values": values, "shapes": shapes, "metadata": {"format": "pt", "note": "gruß"}})
