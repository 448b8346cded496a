#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace seedbed::binding {

// One thread that runs tasks in order. Never libuv's pool, whose four threads file I/O needs.
// The thread starts with the first task; the destructor waits for the task that runs and drops the others.
class Executor {
 public:
  using Task = std::shared_ptr<std::function<void()>>;

  ~Executor();
  void post(Task task);
  // Takes a task out of the queue; false when it runs already or is done.
  bool remove(const Task& task);

 private:
  void serve();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> queue_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace seedbed::binding
