#pragma once
// Where the serial port's bytes go. A reader that stalls costs bytes (the caller counts them),
// never time: a vCPU must not wait for a console.

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::legacy {

class SerialOutput {
 public:
  virtual ~SerialOutput() = default;
  /// Takes what it can without waiting; gives the number of bytes taken.
  [[nodiscard]] virtual size_t write(std::span<const std::byte> bytes) = 0;
};

/// A descriptor: file, FIFO, terminal or standard output.
class FdSerialOutput final : public SerialOutput {
 public:
  /// A copy of standard output. Its O_NONBLOCK flag belongs to others too, so readiness is asked
  /// first.
  static base::Result<std::unique_ptr<SerialOutput>> standard_output();
  /// Opens or creates `path` for appending; errors name serial_out_path.
  static base::Result<std::unique_ptr<SerialOutput>> open(const std::string& path);

  explicit FdSerialOutput(base::UniqueFd fd) : fd_(std::move(fd)) {}
  size_t write(std::span<const std::byte> bytes) override;

 private:
  base::UniqueFd fd_;
};

}  // namespace mote::legacy
