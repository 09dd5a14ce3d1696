#include "monitor/snapshot/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "memory/layout.h"
#include "monitor/snapshot/aside_file.h"

namespace mote::monitor::snapshot {
namespace {

using memory::GuestMemory;
using memory::layout::kPageSize;

/// Behind a state file's name, when its memory file is about to be renamed.
constexpr const char* kNext = ".next";
constexpr uint64_t kStateLimitBytes = 64 * memory::layout::kMib;
constexpr size_t kCopyBytes = memory::layout::kMib;

/// Stands alone in the page behind guest memory.
struct Footer {
  std::array<char, 8> magic = {'M', 'O', 'T', 'E', 'M', 'E', 'M', '1'};
  uint64_t memory_bytes = 0;
  SnapshotId id{};
  uint64_t whole = 0;     ///< 1: all of memory; 0: a diff's pages, the rest holes.
  uint64_t checksum = 0;  ///< Of what stands before it.
};
static_assert(sizeof(Footer) == 48);

uint64_t footer_checksum(const Footer& footer) {
  return XXH3_64bits(&footer, offsetof(Footer, checksum));
}

std::array<std::byte, kPageSize> footer_page(uint64_t memory_bytes, const SnapshotId& id,
                                             SnapshotType type) {
  Footer footer;
  footer.memory_bytes = memory_bytes;
  footer.id = id;
  footer.whole = type == SnapshotType::kFull ? 1 : 0;
  footer.checksum = footer_checksum(footer);
  std::array<std::byte, kPageSize> page{};
  std::memcpy(page.data(), &footer, sizeof(footer));
  return page;
}

bool is_zero(const std::byte* page) {
  static constexpr std::array<std::byte, kPageSize> kZero{};
  return std::memcmp(page, kZero.data(), kPageSize) == 0;
}

/// Writes a range, leaving holes for pages of zeros unless they have to be there.
base::Result<> write_pages(int fd, std::span<const std::byte> bytes, uint64_t offset,
                           SnapshotType type) {
  size_t at = 0;
  while (at < bytes.size()) {
    if (type == SnapshotType::kFull && is_zero(bytes.data() + at)) {
      at += kPageSize;
      continue;
    }
    size_t end = at + kPageSize;
    while (end < bytes.size() && (type == SnapshotType::kDiff || !is_zero(bytes.data() + end))) {
      end += kPageSize;
    }
    MOTE_TRY_VOID(write_at(fd, bytes.subspan(at, end - at), offset + at));
    at = end;
  }
  return {};
}

base::Result<> write_memory(int fd, const GuestMemory& memory, const Snapshot& snapshot,
                            std::span<const GuestMemory::Range> pages) {
  const uint64_t size = memory.size_bytes();
  if (::ftruncate(fd, static_cast<off_t>(size + kPageSize)) != 0) {
    return base::fail_errno(errno, "cannot size the file");
  }
  for (const auto& range : pages) {
    uint64_t done = 0;
    while (done < range.size_bytes) {  // A merged range may cross from one region to the next.
      uint64_t part = range.size_bytes - done;
      auto bytes = memory.bytes_of({range.offset + done, part});
      if (bytes.empty()) {
        part = memory.regions().front().size_bytes() - (range.offset + done);
        bytes = memory.bytes_of({range.offset + done, part});
      }
      if (bytes.empty()) {
        return base::fail(base::ErrorCode::kInternal, "a page outside guest memory");
      }
      MOTE_TRY_VOID(write_pages(fd, bytes, range.offset + done, snapshot.type));
      done += part;
    }
  }
  return write_at(fd, footer_page(size, snapshot.id, snapshot.type), size);
}

base::Result<base::UniqueFd> open_regular(const std::string& path, int flags) {
  base::UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return base::fail_errno(errno, "cannot open " + path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return base::fail_errno(errno, path);
  if (!S_ISREG(status.st_mode)) {
    return base::fail(base::ErrorCode::kInvalidArgument, path + " is no regular file");
  }
  return fd;
}

uint64_t size_of(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
}

base::Result<Footer> read_footer(int fd, const std::string& path, uint64_t memory_bytes) {
  if (size_of(fd) != memory_bytes + kPageSize) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      fmt::format("{} has {} bytes; {} of guest memory and a last page of {} were "
                                  "expected",
                                  path, size_of(fd), memory_bytes, kPageSize));
  }
  Footer footer;
  if (::pread(fd, &footer, sizeof(footer), static_cast<off_t>(memory_bytes)) != sizeof(footer)) {
    return base::fail_errno(errno, "cannot read " + path);
  }
  if (footer.magic != Footer{}.magic || footer.checksum != footer_checksum(footer) ||
      footer.memory_bytes != memory_bytes) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      path + " is no memory file of Mote, or its last page is damaged");
  }
  return footer;
}

base::Result<> copy_range(int from, int to, GuestMemory::Range range,
                          std::vector<std::byte>& buffer) {
  while (range.size_bytes > 0) {
    const size_t size = std::min<uint64_t>(range.size_bytes, buffer.size());
    const ssize_t got = ::pread(from, buffer.data(), size, static_cast<off_t>(range.offset));
    if (got <= 0) return base::fail_errno(got < 0 ? errno : EIO, "cannot read the diff");
    const auto bytes = std::span(buffer).first(static_cast<size_t>(got));
    MOTE_TRY_VOID(write_at(to, bytes, range.offset));
    range.offset += bytes.size();
    range.size_bytes -= bytes.size();
  }
  return {};
}

}  // namespace

base::Result<> write_snapshot(const GuestMemory& memory, const Snapshot& snapshot,
                              std::span<const GuestMemory::Range> pages, const Paths& paths) {
  auto memory_file = AsideFile::create(paths.memory);
  if (!memory_file) return base::with_context(memory_file.error(), "mem_file_path");
  auto state_file = AsideFile::create(paths.state);
  if (!state_file) return base::with_context(state_file.error(), "snapshot_path");

  auto written = write_memory(memory_file->fd(), memory, snapshot, pages);
  if (written) written = memory_file->sync();
  if (!written) return base::with_context(written.error(), "mem_file_path");
  written = write_at(state_file->fd(), encode_snapshot(snapshot), 0);
  if (written) written = state_file->sync();
  if (!written) return base::with_context(written.error(), "snapshot_path");

  MOTE_TRY_VOID(state_file->commit_as(paths.state + kNext));
  MOTE_TRY_VOID(memory_file->commit());
  return state_file->commit();
}

base::Result<std::vector<std::byte>> read_whole_file(const std::string& path) {
  MOTE_TRY(const auto fd, open_regular(path, O_RDONLY));
  const uint64_t size = size_of(fd.get());
  if (size > kStateLimitBytes) {
    return base::fail(base::ErrorCode::kInvalidArgument, path + " is too large for a snapshot");
  }
  std::vector<std::byte> file(size);
  const ssize_t got = ::pread(fd.get(), file.data(), file.size(), 0);
  if (got != static_cast<ssize_t>(size)) {
    return base::fail_errno(got < 0 ? errno : EIO, "cannot read " + path);
  }
  return file;
}

base::Result<Snapshot> read_snapshot(const std::string& path) {
  MOTE_TRY(const auto file, read_whole_file(path));
  auto snapshot = decode_snapshot(file);
  if (!snapshot) return base::with_context(std::move(snapshot).error(), path);
  return snapshot;
}

base::Result<OpenedSnapshot> open_snapshot(const Paths& paths, SnapshotType type) {
  const auto open = [&](const std::string& state) -> base::Result<OpenedSnapshot> {
    auto snapshot = read_snapshot(state);
    if (!snapshot) return base::with_context(std::move(snapshot).error(), "snapshot_path");
    auto memory = open_memory_file(paths.memory, *snapshot, type);
    if (!memory) return base::with_context(std::move(memory).error(), "mem_backend");
    return OpenedSnapshot{std::move(*snapshot), std::move(*memory)};
  };
  auto opened = open(paths.state);
  if (opened) return opened;
  auto next = open(paths.state + kNext);
  return next ? std::move(next) : std::move(opened);
}

base::Result<base::UniqueFd> open_memory_file(const std::string& path, const Snapshot& snapshot,
                                              SnapshotType type) {
  MOTE_TRY(auto fd, open_regular(path, O_RDONLY));
  MOTE_TRY(const auto footer,
           read_footer(fd.get(), path, snapshot.machine.mem_size_mib * memory::layout::kMib));
  if (footer.id != snapshot.id) {
    return base::fail(base::ErrorCode::kInvalidArgument, path + " belongs to another snapshot");
  }
  if ((footer.whole != 0) != (type == SnapshotType::kFull)) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      path + (footer.whole != 0 ? " holds all of memory and is no diff"
                                                : " is a diff: merge it onto its base first and "
                                                  "load that (see docs/snapshots.md)"));
  }
  return fd;
}

base::Result<> merge_diff(const std::string& base_memory, const Paths& diff) {
  MOTE_TRY(const auto opened, open_snapshot(diff, SnapshotType::kDiff));
  const Snapshot& snapshot = opened.snapshot;
  const base::UniqueFd& source = opened.memory;
  if (snapshot.type != SnapshotType::kDiff) {
    return base::fail(base::ErrorCode::kInvalidArgument, diff.state + " is no diff");
  }
  MOTE_TRY(const auto target, open_regular(base_memory, O_RDWR));
  const uint64_t size = snapshot.machine.mem_size_mib * memory::layout::kMib;
  MOTE_TRY_VOID(read_footer(target.get(), base_memory, size));
  // From here on the file is nobody's, until all is there.
  const std::array<std::byte, kPageSize> nobody{};
  MOTE_TRY_VOID(write_at(target.get(), nobody, size));
  std::vector<std::byte> buffer(kCopyBytes);
  for (const auto& range : snapshot.ranges) {
    if (range.offset > size || range.size_bytes > size - range.offset) {
      return base::fail(base::ErrorCode::kInvalidArgument,
                        diff.state + ": a range lies outside guest memory");
    }
    MOTE_TRY_VOID(copy_range(source.get(), target.get(), range, buffer));
  }
  if (::fdatasync(target.get()) != 0) return base::fail_errno(errno, base_memory);
  MOTE_TRY_VOID(write_at(target.get(), footer_page(size, snapshot.id, SnapshotType::kFull), size));
  if (::fdatasync(target.get()) != 0) return base::fail_errno(errno, base_memory);
  return {};
}

}  // namespace mote::monitor::snapshot
