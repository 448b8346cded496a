#pragma once

#include <ATen/core/Tensor.h>
#include <napi.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "executor.h"

namespace seedbed::binding {

// Builds a JavaScript value; called on the JavaScript thread.
using Emit = std::function<Napi::Value(Napi::Env)>;

// What running work may do.
class JobContext {
 public:
  virtual ~JobContext() = default;
  virtual void progress(Emit event) = 0;     // queued for the listener; never lost, never out of order
  virtual bool cancelled() const = 0;
  // Asks JavaScript and waits: calls the listener with ("ask", { id, question }) until `Jobs::answer` is called with that
  // id. Throws Cancelled when the job is cancelled meanwhile. For jobs on a thread of their own only: an answer may take
  // other jobs.
  virtual at::Tensor ask(Emit question) = 0;
  void throw_if_cancelled() const;
};

// Runs on an executor thread; what it returns becomes the result, what it throws the error.
using Work = std::function<Emit(JobContext&)>;

// Jobs of one lane run one after the other; lanes run side by side. Training gets its own, so that a short job need
// not wait for hours. A job on `own` has a thread to itself.
enum class Lane { compute, training, own };

// The jobs of one environment (main thread or worker thread).
class Jobs {
 public:
  explicit Jobs(Napi::Env env);

  // Starts work and returns its handle. `listener(kind, value)` is called with ("event", value) any number of times, with
  // ("ask", { id, question }) where the work asks, then once with ("done", result) or ("error", { code, message }).
  // `kept` are values whose memory the work reads: they stay until it is done.
  Napi::Value start(Napi::Env env, Lane lane, const Napi::Function& listener, Work work, const std::vector<Napi::Value>& kept = {});
  // Stops everything: waits for the current step of what runs, drops what is queued. To be called before the process
  // exits, since exit() destroys libtorch's statics under running threads.
  void stop();
  // Asks a job to stop at its next step; one that has not begun ends at once. Nothing happens when it is done.
  void cancel(uint64_t id);
  // Gives the work what it asked for. Nothing happens when it does not wait for that answer any more.
  void answer(uint64_t id, uint64_t ask, at::Tensor answer);

 private:
  class Job;

  static void deliver(Napi::Env env, Napi::Function, Jobs* jobs, void*);
  static void close(Jobs* jobs);
  void post(std::function<void(Napi::Env)> message);
  Executor& executor_of(Job& job);
  void finish(Napi::Env env, uint64_t id, const char* kind, const Emit& value);

  using Channel = Napi::TypedThreadSafeFunction<Jobs, void, &Jobs::deliver>;

  Channel channel_;
  std::mutex mutex_;  // guards the mailbox
  std::vector<std::function<void(Napi::Env)>> mailbox_;
  bool closed_ = false;
  std::map<uint64_t, std::shared_ptr<Job>> running_;  // JavaScript thread only
  uint64_t next_id_ = 1;
  std::unique_ptr<Executor> lanes_[2];
};

}  // namespace seedbed::binding
