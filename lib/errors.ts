/** Every code an error of this package can carry. The first group is thrown by the native core, the second here. */
export const ERROR_CODES = [
  'ERR_INVALID_ARGUMENT',
  'ERR_SHAPE',
  'ERR_DTYPE',
  'ERR_DISPOSED',
  'ERR_CANCELLED',
  'ERR_OUT_OF_MEMORY',
  'ERR_FILE_NOT_FOUND',
  'ERR_FILE_READ',
  'ERR_FILE_WRITE',
  'ERR_FILE_FORMAT',
  'ERR_DISK_FULL',
  'ERR_WEIGHTS',
  'ERR_NOT_FINITE',
  'ERR_DEGENERATE_FRACTAL',
  'ERR_NO_CUDA',
  'ERR_INTERNAL',

  'ERR_DATASET',
  'ERR_DATA_LEAK',
  'ERR_DOWNLOAD',
  'ERR_IMAGE',
  'ERR_LIBTORCH',
  'ERR_NATIVE',
  'ERR_SHOTS',
  'ERR_TOOLCHAIN',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** An error with a stable `code` and a one-line message: what was expected, for which name, what came. */
export class SeedbedError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** A wrong option or value of the caller's. */
export class ArgumentError extends SeedbedError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_INVALID_ARGUMENT', message, options);
  }
}

/** A job that was stopped by `cancel()` or by leaving its loop. */
export class CancelledError extends SeedbedError {
  constructor(message = 'The job was cancelled') {
    super('ERR_CANCELLED', message);
  }
}

function isErrorCode(code: unknown): code is ErrorCode {
  return ERROR_CODES.includes(code as ErrorCode);
}

/** An error of ours from what the addon reports. Built here, so that the stack is the caller's. */
export function errorFromNative(report: { code?: unknown; message: string }): SeedbedError {
  const code = isErrorCode(report.code) ? report.code : 'ERR_INTERNAL';
  if (code === 'ERR_INVALID_ARGUMENT') return new ArgumentError(report.message);
  if (code === 'ERR_CANCELLED') return new CancelledError(report.message);
  return new SeedbedError(code, report.message);
}

const FILE_ERRORS: Readonly<Record<string, [ErrorCode, string]>> = {
  ENOENT: ['ERR_FILE_NOT_FOUND', 'there is nothing'],
  ENOTDIR: ['ERR_FILE_NOT_FOUND', 'a part of the path is not a folder'],
  EISDIR: ['ERR_FILE_READ', 'it is a folder'],
  EACCES: ['ERR_FILE_READ', 'permission denied'],
  ENOSPC: ['ERR_DISK_FULL', 'the disk is full'],
  EDQUOT: ['ERR_DISK_FULL', 'the disk quota is used up'],
  EROFS: ['ERR_FILE_WRITE', 'the file system is read-only'],
};

/** An error of ours from one of Node's file functions; anything else comes back as it is. */
export function errorFromFile(error: unknown, action: 'read' | 'write', path: string): unknown {
  const errno = (error as NodeJS.ErrnoException | undefined)?.code;
  if (typeof errno !== 'string' || error instanceof SeedbedError) return error;
  const [code, reason] = FILE_ERRORS[errno] ?? [action === 'read' ? 'ERR_FILE_READ' : 'ERR_FILE_WRITE', errno];
  const shown = action === 'write' && code === 'ERR_FILE_READ' ? 'ERR_FILE_WRITE' : code;
  return new SeedbedError(shown, `Cannot ${action} '${path}': ${reason}`, { cause: error });
}
