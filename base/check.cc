#include "base/check.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace mote::base {

void check_failed(const char* expression, const char* reason, const char* file, int line) {
  std::array<char, 512> text{};
  const int length =
      std::snprintf(text.data(), text.size(), "mote: CHECK failed: %s (%s) at %s:%d\n", reason,
                    expression, file, line);
  if (length > 0) {
    const auto written =
        static_cast<size_t>(length) < text.size() ? static_cast<size_t>(length) : text.size() - 1;
    if (::write(STDERR_FILENO, text.data(), written) < 0) {
      // Nothing is left to tell it to.
    }
  }
  std::abort();
}

}  // namespace mote::base
