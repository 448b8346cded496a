#include "parallel/worker_pool.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "parallel/openmp_team.h"
#include "tensor/check.h"

namespace seedbed {

namespace {

// One call of `run`.
struct Loop {
  int64_t count;
  const std::function<void(int64_t, int)>& body;
  std::atomic<int64_t> next{0};
  std::exception_ptr error{};
};

}  // namespace

struct WorkerPool::State {
  std::mutex mutex;
  std::condition_variable changed;
  Loop* loop = nullptr;
  uint64_t generation = 0;  // counts loops, so that a worker joins each one once
  int busy = 0;
  bool closing = false;
  std::vector<std::thread> workers;

  void work_on(Loop& current, int worker) {
    for (int64_t item = current.next++; item < current.count; item = current.next++) {
      try {
        current.body(item, worker);
      } catch (...) {
        current.next = current.count;
        const std::lock_guard lock(mutex);
        if (!current.error) current.error = std::current_exception();
      }
    }
  }

  void serve(int worker, int inner_threads) {
    at::set_num_threads(inner_threads);
    uint64_t seen = 0;
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return closing || generation != seen; });
      if (closing) return;
      seen = generation;
      Loop& current = *loop;
      lock.unlock();
      work_on(current, worker);
      end_openmp_team();
      lock.lock();
      if (--busy == 0) changed.notify_all();
    }
  }
};

WorkerPool::WorkerPool(int threads, int inner_threads) : threads_(threads), state_(std::make_unique<State>()) {
  check_range(int64_t{threads}, "threads", 1, 1024);
  for (int worker = 0; worker < threads; ++worker) state_->workers.emplace_back([this, worker, inner_threads] { state_->serve(worker, inner_threads); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  state_->changed.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

void WorkerPool::run(int64_t count, const std::function<void(int64_t, int)>& body) {
  if (count <= 0) return;
  end_openmp_team();
  Loop loop{.count = count, .body = body};
  std::unique_lock lock(state_->mutex);
  state_->loop = &loop;
  state_->busy = threads_;
  ++state_->generation;
  state_->changed.notify_all();
  state_->changed.wait(lock, [&] { return state_->busy == 0; });
  state_->loop = nullptr;
  if (loop.error) std::rethrow_exception(loop.error);
}

void WorkerPool::run(int64_t count, const std::function<void(int64_t, int)>& body, const std::function<void(int64_t)>& on_done) {
  if (!on_done) return run(count, body);
  std::mutex mutex;
  int64_t done = 0;
  run(count, [&](int64_t item, int worker) {
    body(item, worker);
    const std::lock_guard lock(mutex);
    on_done(++done);
  });
}

}  // namespace seedbed
