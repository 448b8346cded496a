"""A labelled image dataset in the hub's parquet form, as the datasets library writes it: two files, three and two pictures.

python3 scripts/golden/parquet.py
"""
import io
import json

import pyarrow
import pyarrow.parquet
from common import GOLDEN, picture
from PIL import Image

NAMES, LABELS = ["bird", "cat & dog"], [[0, 1, 1], [1, 0]]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}


def png(salt):
    buffer = io.BytesIO()
    Image.fromarray(picture(6, 4, 3, salt)).save(buffer, format="PNG")
    return buffer.getvalue()


folder = GOLDEN / "parquet"
folder.mkdir(parents=True, exist_ok=True)
salt = 0
for number, labels in enumerate(LABELS):
    rows = []
    for label in labels:
        rows.append({"image": {"bytes": png(salt), "path": f"{salt}.png" if salt != 1 else None}, "label": label, "text": f"picture {salt}"})
        salt += 1
    schema = pyarrow.schema([("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])), ("label", pyarrow.int64()), ("text", pyarrow.string())], metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})})
    path = folder / f"train-{number:05d}-of-{len(LABELS):05d}.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path, row_group_size=2)
    print(path, path.stat().st_size)
