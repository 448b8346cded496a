#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace seedbed {

// Threads that run the items of a loop. Each worker gives libtorch `inner_threads` of its own, so a pool
// never takes more cores than the product. What an item computes must not depend on which worker runs it: then results are
// the same for any number of threads.
class WorkerPool {
 public:
  explicit WorkerPool(int threads, int inner_threads = 1);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int threads() const { return threads_; }

  // Calls `body(item, worker)` for item in [0, count) with worker in [0, threads). Returns when all are done. The first
  // exception stops the hand-out of further items and is rethrown here.
  void run(int64_t count, const std::function<void(int64_t item, int worker)>& body);
  // The same; `on_done(done)`, which may be missing, hears after each item how many are done, from worker threads, one at a time.
  void run(int64_t count, const std::function<void(int64_t item, int worker)>& body, const std::function<void(int64_t done)>& on_done);

 private:
  struct State;
  int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace seedbed
