#pragma once
// Opening kernel and initrd files: paths come from a client, so a FIFO, a device or a directory
// must not hang or fool us. Any thread.

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::boot {

/// Opens a regular file for reading. Errors begin with `field` (the API's name) and the path.
base::Result<base::UniqueFd> open_boot_file(const std::string& path, const char* field);

/// Size in bytes of an open regular file.
base::Result<uint64_t> file_size_bytes(int fd);

/// Reads exactly `bytes.size()` bytes at `offset`; a short file is kCorrupt.
base::Result<> read_exactly(int fd, uint64_t offset, std::span<std::byte> bytes);

}  // namespace mote::boot
