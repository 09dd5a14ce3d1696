#include "monitor/boot/kernel_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "monitor/boot/boot_file.h"

namespace mote::boot {

base::Result<KernelCache> KernelCache::open(const std::string& directory) {
  base::UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return base::fail_errno(errno, "--kernel-cache: " + directory);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0)
    return base::fail_errno(errno, "--kernel-cache: " + directory);
  const bool trusted_owner = status.st_uid == ::geteuid() || status.st_uid == 0;
  if (!trusted_owner || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return base::fail(
        base::ErrorCode::kInvalidArgument,
        "--kernel-cache: " + directory +
            " must belong to this user and be writable by nobody else: kernels run from it");
  }
  return KernelCache(std::move(fd), directory);
}

KernelCache::Key KernelCache::key_of(std::span<const std::byte> payload, uint64_t unpacked_bytes) {
  const XXH128_hash_t hash = XXH3_128bits(payload.data(), payload.size());
  return {fmt::format("vmlinux-{:016x}{:016x}-{:x}", hash.high64, hash.low64, unpacked_bytes)};
}

std::optional<base::UniqueFd> KernelCache::find(const Key& key, uint64_t unpacked_bytes) const {
  base::UniqueFd fd(::openat(directory_.get(), key.file_name.c_str(),
                             O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return std::nullopt;
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  if (static_cast<uint64_t>(status.st_size) != unpacked_bytes + key.file_name.size())
    return std::nullopt;
  std::string trailer(key.file_name.size(), '\0');
  const auto read =
      read_exactly(fd.get(), unpacked_bytes, std::as_writable_bytes(std::span(trailer)));
  if (!read || trailer != key.file_name) return std::nullopt;
  return fd;
}

base::Result<base::UniqueFd> KernelCache::create_unnamed() const {
  base::UniqueFd fd(::openat(directory_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0444));
  if (!fd.valid()) return base::fail_errno(errno, "--kernel-cache: cannot write to " + path_);
  return fd;
}

base::Result<> KernelCache::publish(const base::UniqueFd& file, const Key& key,
                                    uint64_t unpacked_bytes) const {
  const auto& name = key.file_name;
  if (::pwrite(file.get(), name.data(), name.size(), static_cast<off_t>(unpacked_bytes)) !=
          static_cast<ssize_t>(name.size()) ||
      ::fdatasync(file.get()) != 0) {
    return base::fail_errno(errno, "--kernel-cache: cannot write to " + path_);
  }
  const std::string self = fmt::format("/proc/self/fd/{}", file.get());
  if (::linkat(AT_FDCWD, self.c_str(), directory_.get(), name.c_str(), AT_SYMLINK_FOLLOW) != 0 &&
      errno != EEXIST) {
    return base::fail_errno(errno, "--kernel-cache: cannot name a file in " + path_);
  }
  return {};
}

}  // namespace mote::boot
