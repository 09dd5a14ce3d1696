#pragma once
// A page-fault handler as users of the `Uffd` backend write one: it takes a userfaultfd over a unix
// socket and serves guest memory from the snapshot's memory file, page by page.

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace mote::integration {

class PageServer final {
 public:
  /// Listens on `socket_path`; serves the first monitor that connects.
  PageServer(const std::string& socket_path, const std::string& memory_file);
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  /// Pages that were asked for and given so far.
  [[nodiscard]] uint64_t pages_served() const { return pages_served_; }
  /// What was wrong with what the monitor sent; empty when nothing was.
  [[nodiscard]] std::string complaint() const { return complained_ ? complaint_ : std::string(); }

 private:
  void serve();
  [[nodiscard]] bool serve_one(int uffd, const std::byte* memory, uint64_t memory_bytes);
  bool complain(std::string reason);
  [[nodiscard]] bool stopping(int fd) const;

  struct Region {
    uint64_t address = 0;
    uint64_t size_bytes = 0;
    uint64_t offset = 0;
  };
  [[nodiscard]] bool receive_regions(int connection, base::UniqueFd& uffd);

  std::string memory_file_;
  base::UniqueFd listener_;
  base::UniqueFd stop_;  ///< Eventfd.
  std::vector<Region> regions_;
  std::atomic<uint64_t> pages_served_ = 0;
  std::string complaint_;
  std::atomic<bool> complained_ = false;
  std::jthread thread_;
};

}  // namespace mote::integration
