#pragma once
// Decompressed kernels on disk, keyed by the content of the compressed payload, so that a fleet
// unpacks a bzImage once and every later VM maps the same pages. Files appear whole (written aside,
// then linked) and carry their key in a trailer, so that a partial or foreign file is never used.

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::boot {

class KernelCache final {
 public:
  /// Checks that `directory` exists, belongs to this user (or root) and is not writable by others:
  /// what lies in it is run as a kernel.
  static base::Result<KernelCache> open(const std::string& directory);

  /// A compressed kernel inside a file.
  struct PayloadRange {
    uint64_t offset;
    uint64_t size_bytes;
    uint64_t unpacked_bytes;
  };
  /// Names the unpacked form of a payload.
  struct Key {
    std::string file_name;
  };
  /// The key of a payload's content. Hashes it once; afterwards a link in the cache remembers the
  /// key by the file's identity (device, inode, size and change time, which nobody can set), so
  /// that a launch does not read the payload at all.
  [[nodiscard]] base::Result<Key> key_of(int fd, const PayloadRange& payload) const;

  /// The file that holds the unpacked kernel, when it is there and whole.
  [[nodiscard]] std::optional<base::UniqueFd> find(const Key& key, uint64_t unpacked_bytes) const;
  /// An unnamed file in the cache to unpack into.
  [[nodiscard]] base::Result<base::UniqueFd> create_unnamed() const;
  /// Writes the trailer and gives the file its name, in place of a damaged one if need be.
  base::Result<> publish(const base::UniqueFd& file, const Key& key, uint64_t unpacked_bytes) const;

 private:
  KernelCache(base::UniqueFd directory, std::string path)
      : directory_(std::move(directory)), path_(std::move(path)) {}

  base::UniqueFd directory_;
  std::string path_;
};

}  // namespace mote::boot
