/** The libtorch version this package is written and tested against. */
export const TORCH_VERSION = '2.13.0';

export interface Download {
  /** Where the file is published. */
  url: string;
  file: string;
  /** Bytes. */
  size: number;
  sha256: string;
}

/**
 * Official files that hold libtorch, by `process.platform`-`process.arch`. A wheel of any Python version has the same C++
 * libraries and headers.
 */
export const DOWNLOADS: Readonly<Record<string, Download>> = {
  'linux-x64': {
    url: 'https://download.pytorch.org/whl/cpu/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl',
    file: 'torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl',
    size: 191_794_682,
    sha256: '6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b',
  },
};

/** The way to the same file through a package proxy. */
export const PIP_COMMAND = ['pip', 'download', `torch==${TORCH_VERSION}`, '--no-deps'] as const;
