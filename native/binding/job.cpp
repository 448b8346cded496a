#include "job.h"

#include <condition_variable>
#include <optional>

#include "errors.h"
#include "values.h"
#include "parallel/openmp_team.h"
#include "tensor/error.h"
#include "tensor/scratch.h"

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
  bool cancelled() const override { return cancel_requested_; }

  at::Tensor ask(Emit question) override {
    std::unique_lock lock(mutex_);
    answer_.reset();
    const uint64_t ask = ++asked_;
    jobs_.post([this, ask, question = std::move(question)](Napi::Env env) {
      listener.Call({Napi::String::New(env, "ask"), emit_object(env, {{"id", static_cast<int64_t>(ask)}, {"question", question(env)}})});
    });
    changed_.wait(lock, [this] { return answer_ || cancel_requested_; });
    throw_if_cancelled();
    return *answer_;
  }

  void answer(uint64_t ask, at::Tensor answer) {
    const std::lock_guard lock(mutex_);
    if (ask != asked_) return;
    answer_ = std::move(answer);
    changed_.notify_all();
  }

  void request_cancel() {
    const std::lock_guard lock(mutex_);
    cancel_requested_ = true;
    changed_.notify_all();
  }

  const uint64_t id;
  const Lane lane;
  Executor::Task task;
  Napi::FunctionReference listener;  // JavaScript thread only
  std::vector<Napi::ObjectReference> kept;

 private:
  Jobs& jobs_;
  std::atomic<bool> cancel_requested_{false};
  std::mutex mutex_;  // guards the answer
  std::condition_variable changed_;
  uint64_t asked_ = 0;
  std::optional<at::Tensor> answer_;

 public:
  std::unique_ptr<Executor> own;  // of Lane::own; destroyed first, which joins its thread
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

// The listener threw: an uncaught exception, as in any callback. While the environment ends nothing can be reported.
void report_uncaught(Napi::Env env, const Napi::Error& error) {
  try {
    napi_fatal_exception(env, error.Value());
  } catch (const Napi::Error&) {
  }
}

}  // namespace

Jobs::Jobs(Napi::Env env) : lanes_{std::make_unique<Executor>(), std::make_unique<Executor>()} {
  channel_ = Channel::New(env, "seedbed", 0, 1, this);
  channel_.Unref(env);
  // Registered after the channel's own hook, so it runs before it: threads are gone when the channel closes.
  env.AddCleanupHook(&Jobs::close, this);
}

void Jobs::stop() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  for (auto& [id, job] : running_) job->request_cancel();
  for (auto& [id, job] : running_) job->own.reset();
  for (auto& lane : lanes_) lane.reset();
}

void Jobs::close(Jobs* jobs) {
  jobs->stop();
  jobs->mailbox_.clear();
  jobs->running_.clear();
  jobs->channel_.Release();
}

Napi::Value Jobs::start(Napi::Env env, Lane lane, const Napi::Function& listener, Work work, const std::vector<Napi::Value>& kept) {
  expect(!closed_, "Expected a running process for a new job, it is exiting");
  auto job = std::make_shared<Job>(*this, next_id_++, lane, listener);
  for (const Napi::Value& value : kept) job->kept.push_back(Napi::Persistent(value.As<Napi::Object>()));
  job->task = std::make_shared<std::function<void()>>([this, job = job.get(), work = std::move(work)] {
    const char* kind = "done";
    Emit value;
    try {
      job->throw_if_cancelled();
      std::optional<ScratchScope> scratch;
      if (job->lane == Lane::training) scratch.emplace();
      value = work(*job);
    } catch (...) {
      kind = "error";
      value = emit_error(describe(std::current_exception()));
    }
    end_openmp_team();
    post([this, id = job->id, kind, value = std::move(value)](Napi::Env env) { finish(env, id, kind, value); });
  });
  if (running_.empty()) channel_.Ref(env);
  running_.emplace(job->id, job);
  if (lane == Lane::own) job->own = std::make_unique<Executor>();
  executor_of(*job).post(job->task);
  return Napi::Number::New(env, static_cast<double>(job->id));
}

Executor& Jobs::executor_of(Job& job) { return job.lane == Lane::own ? *job.own : *lanes_[static_cast<int>(job.lane)]; }

void Jobs::answer(uint64_t id, uint64_t ask, at::Tensor answer) {
  const auto found = running_.find(id);
  if (found != running_.end()) found->second->answer(ask, std::move(answer));
}

void Jobs::cancel(uint64_t id) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  const std::shared_ptr<Job> job = found->second;
  job->request_cancel();
  if (closed_ || !executor_of(*job).remove(job->task)) return;
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
      report_uncaught(env, error);
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
