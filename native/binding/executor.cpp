#include "executor.h"

#include <algorithm>

namespace seedbed::binding {

Executor::~Executor() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Executor::post(Task task) {
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
  queue_.push_back(std::move(task));
  changed_.notify_all();
}

bool Executor::remove(const Task& task) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(queue_, task);
  if (found == queue_.end()) return false;
  queue_.erase(found);
  return true;
}

void Executor::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (closing_) return;
    const Task task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    (*task)();
    lock.lock();
  }
}

}  // namespace seedbed::binding
