#include "monitor/boot/kernel_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "monitor/boot/boot_file.h"

namespace mote::boot {
namespace {

constexpr std::string_view kNamePrefix = "vmlinux-";
constexpr size_t kMaxNameBytes = 128;

std::string sizes_of(const KernelCache::PayloadRange& payload) {
  return fmt::format("-{:x}-{:x}", payload.size_bytes, payload.unpacked_bytes);
}

std::string identity_of(const struct stat& file, const KernelCache::PayloadRange& payload) {
  return fmt::format("file-{:x}-{:x}-{:x}-{:x}.{:x}-{:x}", file.st_dev, file.st_ino, file.st_size,
                     file.st_ctim.tv_sec, file.st_ctim.tv_nsec, payload.offset);
}

/// A file changed again within the same tick of its file system's clock keeps its change time, so a
/// fresh one is not remembered.
bool has_settled(const struct stat& file) {
  constexpr int64_t kSettleNs = 2'000'000'000;  // The coarsest clock of a file system in use.
  const int64_t changed_ns = int64_t{file.st_ctim.tv_sec} * 1'000'000'000 + file.st_ctim.tv_nsec;
  return changed_ns + kSettleNs < static_cast<int64_t>(base::clock_ns(CLOCK_REALTIME));
}

base::Result<std::string> hash_of(int fd, const KernelCache::PayloadRange& payload) {
  constexpr uint64_t kChunkBytes = 256 * 1024;  // Stays in the second-level cache.
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  if (state == nullptr || XXH3_128bits_reset(state.get()) != XXH_OK) {
    return base::fail(base::ErrorCode::kInternal, "xxhash did not start");
  }
  std::vector<std::byte> buffer(std::min(kChunkBytes, payload.size_bytes));
  for (uint64_t done = 0; done < payload.size_bytes;) {
    const auto chunk = std::span(buffer).first(std::min(kChunkBytes, payload.size_bytes - done));
    MOTE_TRY_VOID(read_exactly(fd, payload.offset + done, chunk));
    XXH3_128bits_update(state.get(), chunk.data(), chunk.size());
    done += chunk.size();
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

/// Links an unnamed file. The first way needs no /proc but a privilege, the second the reverse.
bool name_file(int directory, int file, const std::string& name) {
  if (::linkat(file, "", directory, name.c_str(), AT_EMPTY_PATH) == 0) return true;
  if (errno == EEXIST) return false;
  const std::string self = fmt::format("/proc/self/fd/{}", file);
  return ::linkat(AT_FDCWD, self.c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

}  // namespace

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

base::Result<KernelCache::Key> KernelCache::key_of(int fd, const PayloadRange& payload) const {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return base::fail_errno(errno, "fstat");
  const std::string identity = identity_of(status, payload);
  const std::string suffix = sizes_of(payload);
  std::array<char, kMaxNameBytes> target{};
  const ssize_t length =
      ::readlinkat(directory_.get(), identity.c_str(), target.data(), target.size());
  const std::string_view remembered(target.data(),
                                    static_cast<size_t>(std::max(length, ssize_t{0})));
  if (remembered.starts_with(kNamePrefix) && remembered.ends_with(suffix) &&
      !remembered.contains('/')) {
    return Key{std::string(remembered)};
  }
  MOTE_TRY(const std::string digest, hash_of(fd, payload));
  Key key{std::string(kNamePrefix) + digest + suffix};
  if (has_settled(status)) {  // Only a convenience: a failure costs the next launch a hash.
    (void)::symlinkat(key.file_name.c_str(), directory_.get(), identity.c_str());
  }
  return key;
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
  if (name_file(directory_.get(), file.get(), name)) return {};
  if (errno != EEXIST)
    return base::fail_errno(errno, "--kernel-cache: cannot name a file in " + path_);
  // Either another launch was faster, or find() refused what is there. A rename is right for both.
  const std::string aside = fmt::format(".{}-{}", name, ::getpid());
  const bool replaced =
      name_file(directory_.get(), file.get(), aside) &&
      ::renameat(directory_.get(), aside.c_str(), directory_.get(), name.c_str()) == 0;
  if (replaced) return {};
  const int error = errno;
  ::unlinkat(directory_.get(), aside.c_str(), 0);
  return base::fail_errno(error, "--kernel-cache: cannot replace a file in " + path_);
}

}  // namespace mote::boot
