// kvm-abi DEVICE [CASE...]: tries what the project needs of KVM's ABI, one line a case:
//   ok NAME | not ok NAME: what differs | absent NAME: what is not offered | unable NAME: what the
//   device cannot run. Ends with 1 if anything was not ok. The same binary runs on /dev/kvm, which
//   is the oracle, and on /dev/kvm-lite.
// kvm-abi DEVICE --measure: the cost of each kind of exit.
// kvm-abi DEVICE --stress COUNT: so many changes of memory under a running guest.
// kvm-abi DEVICE --ioctls: what each ioctl of KVM's on x86 answers to a senseless argument.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "tests/kvm_abi/machine.h"

namespace kvm_abi {
namespace {

constexpr unsigned kCaseSeconds = 60;

struct Counts {
  unsigned ok = 0, not_ok = 0, absent = 0, unable = 0;
};

void run_case(const Case& each, const Descriptor& system, Counts& counts) {
  // A guest that never comes back ends the program, with the case's name as the last line.
  alarm(kCaseSeconds);
  std::printf("case %s\n", each.name);
  try {
    each.run(system);
    ++counts.ok;
    std::printf("ok %s\n", each.name);
  } catch (const Absent& reason) {
    ++counts.absent;
    std::printf("absent %s: %s\n", each.name, reason.what());
  } catch (const Unable& reason) {
    ++counts.unable;
    std::printf("unable %s: %s\n", each.name, reason.what());
  } catch (const std::exception& reason) {
    ++counts.not_ok;
    std::printf("not ok %s: %s\n", each.name, reason.what());
  }
  alarm(0);
}

Counts run_cases(const Descriptor& system, std::span<char*> names) {
  Counts counts;
  for (const auto group : {xstate_cases(), system_cases(), state_cases(), memory_cases(),
                           guest_cases(), processor_cases(), interrupt_cases(), eventfd_cases()})
    for (const Case& each : group) {
      const auto is_named = [&each](const char* name) {
        return std::string_view(name) == each.name;
      };
      if (names.empty() || std::any_of(names.begin(), names.end(), is_named))
        run_case(each, system, counts);
    }
  return counts;
}

int run(std::span<char*> arguments) {
  const Descriptor system(open(arguments[0], O_RDWR | O_CLOEXEC));
  if (system.get() < 0) {
    std::printf("skip kvm-abi: %s: %s\n", arguments[0], std::strerror(errno));
    return errno == ENOENT || errno == EACCES ? 77 : 1;
  }
  const auto names = arguments.subspan(1);
  if (names.size() == 1 && std::string_view(names[0]) == "--measure") {
    measure(system);
    return 0;
  }
  if (names.size() == 1 && std::string_view(names[0]) == "--ioctls") {
    list_ioctls(system);
    return 0;
  }
  if (names.size() == 2 && std::string_view(names[0]) == "--stress") {
    stress_memory(system, static_cast<unsigned>(std::strtoul(names[1], nullptr, 10)));
    return 0;
  }
  const Counts counts = run_cases(system, names);
  std::printf("total %s: %u ok, %u not ok, %u absent, %u unable\n", arguments[0], counts.ok,
              counts.not_ok, counts.absent, counts.unable);
  return counts.not_ok != 0 || counts.ok == 0 ? 1 : 0;
}

}  // namespace
}  // namespace kvm_abi

int main(int count, char** arguments) {
  if (count < 2) {
    std::fputs("usage: kvm-abi DEVICE [CASE...|--measure|--ioctls|--stress COUNT]\n", stderr);
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    return kvm_abi::run(std::span(arguments + 1, static_cast<std::size_t>(count - 1)));
  } catch (const std::exception& failure) {
    std::printf("not ok kvm-abi: %s\n", failure.what());
    return 1;
  }
}
