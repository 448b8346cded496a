#include "job.h"

#include <cstdlib>
#include <set>

#include "errors.h"
#include "tensor/error.h"

namespace seedbed::binding {

void JobContext::throw_if_cancelled() const {
  if (cancelled()) throw Cancelled();
}

class Jobs::Job : public JobContext {
 public:
  Job(Jobs& jobs, uint64_t id, Lane lane, const Napi::Function& listener) : id(id), lane(lane), listener(Napi::Persistent(listener)), jobs_(jobs) {}

  void progress(Emit event) override {
    jobs_.post([this, event = std::move(event)](Napi::Env env) { listener.Call({Napi::String::New(env, "event"), event(env)}); });
  }
  bool cancelled() const override { return cancel_requested; }

  const uint64_t id;
  const Lane lane;
  Executor::Task task;
  std::atomic<bool> cancel_requested{false};
  Napi::FunctionReference listener;  // JavaScript thread only

 private:
  Jobs& jobs_;
};

namespace {

Emit emit_error(ErrorInfo info) {
  return [info = std::move(info)](Napi::Env env) {
    Napi::Object error = Napi::Object::New(env);
    error.Set("code", Napi::String::New(env, info.code.data(), info.code.size()));
    error.Set("message", Napi::String::New(env, info.message));
    return error;
  };
}

// `process.exit()` does not run environment clean-up hooks on the main thread; it ends in exit(), which would destroy
// libtorch's statics under running threads. So all Jobs of the process stop there first.
struct LiveJobs {
  std::mutex mutex;
  std::set<Jobs*> all;
};

LiveJobs& live_jobs() {
  static auto* live = new LiveJobs;  // never destroyed: used during exit
  return *live;
}

}  // namespace

void Jobs::stop_all_at_exit() {
  std::set<Jobs*> all;
  {
    const std::lock_guard lock(live_jobs().mutex);
    all.swap(live_jobs().all);
  }
  for (Jobs* jobs : all) jobs->stop_threads();
}

Jobs::Jobs(Napi::Env env) : lanes_{std::make_unique<Executor>(), std::make_unique<Executor>()} {
  static const int registered = std::atexit(&Jobs::stop_all_at_exit);
  (void)registered;
  {
    const std::lock_guard lock(live_jobs().mutex);
    live_jobs().all.insert(this);
  }
  channel_ = Channel::New(env, "seedbed", 0, 1, this);
  channel_.Unref(env);
  // Registered after the channel's own hook, so it runs before it: threads are gone when the channel closes.
  env.AddCleanupHook(&Jobs::close, this);
}

Jobs::~Jobs() {
  const std::lock_guard lock(live_jobs().mutex);
  live_jobs().all.erase(this);
}

// Waits for the current step of what runs; drops what is queued.
void Jobs::stop_threads() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  for (auto& [id, job] : running_) job->cancel_requested = true;
  for (auto& lane : lanes_) lane.reset();
}

void Jobs::close(Jobs* jobs) {
  jobs->stop_threads();
  jobs->mailbox_.clear();
  jobs->running_.clear();
  jobs->channel_.Release();
}

Napi::Value Jobs::start(Napi::Env env, Lane lane, const Napi::Function& listener, Work work) {
  auto job = std::make_shared<Job>(*this, next_id_++, lane, listener);
  job->task = std::make_shared<std::function<void()>>([this, job = job.get(), work = std::move(work)] {
    const char* kind = "done";
    Emit value;
    try {
      job->throw_if_cancelled();
      value = work(*job);
    } catch (...) {
      kind = "error";
      value = emit_error(describe(std::current_exception()));
    }
    post([this, id = job->id, kind, value = std::move(value)](Napi::Env env) { finish(env, id, kind, value); });
  });
  if (running_.empty()) channel_.Ref(env);
  running_.emplace(job->id, job);
  lanes_[static_cast<int>(lane)]->post(job->task);
  return Napi::Number::New(env, static_cast<double>(job->id));
}

void Jobs::cancel(uint64_t id) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  const std::shared_ptr<Job> job = found->second;
  job->cancel_requested = true;
  if (!lanes_[static_cast<int>(job->lane)]->remove(job->task)) return;
  post([this, id](Napi::Env env) { finish(env, id, "error", emit_error(describe(std::make_exception_ptr(Cancelled())))); });
}

void Jobs::post(std::function<void(Napi::Env)> message) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  mailbox_.push_back(std::move(message));
  if (mailbox_.size() == 1) channel_.NonBlockingCall();
}

void Jobs::deliver(Napi::Env env, Napi::Function, Jobs* jobs, void*) {
  if (env == nullptr) return;
  std::vector<std::function<void(Napi::Env)>> messages;
  {
    const std::lock_guard lock(jobs->mutex_);
    messages.swap(jobs->mailbox_);
  }
  for (const auto& message : messages) {
    const Napi::HandleScope scope(env);
    try {
      message(env);
    } catch (const Napi::Error& error) {
      napi_fatal_exception(env, error.Value());  // the listener threw: an uncaught exception, as in any callback
    }
  }
}

void Jobs::finish(Napi::Env env, uint64_t id, const char* kind, const Emit& value) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  const std::shared_ptr<Job> job = found->second;
  running_.erase(found);
  if (running_.empty()) channel_.Unref(env);
  Napi::Value result;
  try {
    result = value(env);
  } catch (...) {  // say, no memory for the result
    kind = "error";
    result = emit_error(describe(std::current_exception()))(env);
  }
  job->listener.Call({Napi::String::New(env, kind), result});
}

}  // namespace seedbed::binding
