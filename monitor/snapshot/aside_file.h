#pragma once
// A file beside its destination, which it replaces at commit(); gone when that is never called.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::monitor::snapshot {

/// Writes all of `bytes` at `offset`, in steps that a full disk interrupts soon.
base::Result<> write_at(int fd, std::span<const std::byte> bytes, uint64_t offset);

class AsideFile final {
 public:
  /// kInvalidArgument: something is there that is no regular file.
  static base::Result<AsideFile> create(const std::string& path);
  AsideFile(AsideFile&& other) noexcept
      : path_(std::move(other.path_)),
        aside_(std::exchange(other.aside_, {})),
        fd_(std::move(other.fd_)) {}
  AsideFile& operator=(AsideFile&&) = delete;
  ~AsideFile();

  [[nodiscard]] int fd() const { return fd_.get(); }
  base::Result<> write(std::span<const std::byte> bytes, uint64_t offset) const {
    return write_at(fd_.get(), bytes, offset);
  }
  base::Result<> sync() const;
  /// Puts it into place.
  base::Result<> commit();
  /// The same in two steps: first under another name, where it stays when nothing follows.
  base::Result<> commit_as(const std::string& path);

 private:
  AsideFile(std::string path, std::string aside, base::UniqueFd fd)
      : path_(std::move(path)), aside_(std::move(aside)), fd_(std::move(fd)) {}

  std::string path_;
  std::string aside_;
  base::UniqueFd fd_;
};

}  // namespace mote::monitor::snapshot
