#include "jailer/checks.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mote::jailer {
namespace {

std::unexpected<base::Error> wrong(std::string text) {
  return base::fail(base::ErrorCode::kInvalidArgument, std::move(text));
}

/// Does a program of the ELF file name a loader?
base::Result<bool> needs_loader(int fd) {
  Elf64_Ehdr header{};
  if (::pread(fd, &header, sizeof(header), 0) != static_cast<ssize_t>(sizeof(header)) ||
      std::string_view(reinterpret_cast<const char*>(header.e_ident), SELFMAG) != ELFMAG ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return wrong("is not a 64-bit ELF program");
  }
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part{};
    const auto offset = static_cast<off_t>(header.e_phoff + i * sizeof(part));
    if (::pread(fd, &part, sizeof(part), offset) != static_cast<ssize_t>(sizeof(part))) {
      return wrong("is a truncated program");
    }
    if (part.p_type == PT_INTERP) return true;
  }
  return false;
}

}  // namespace

base::Result<base::UniqueFd> open_program(const std::string& path) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.valid()) return base::fail_errno(errno, "--exec-file: " + path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      (status.st_mode & S_IXOTH) == 0) {
    return wrong("--exec-file: " + path + " is not a program that everybody may run");
  }
  const auto dynamic = needs_loader(file.get());
  if (!dynamic) return wrong("--exec-file: " + path + " " + dynamic.error().message());
  if (*dynamic) {
    return wrong("--exec-file: " + path + " is not static: it would find no libraries in the jail");
  }
  // Without read access: nothing but running it is meant.
  base::UniqueFd program(
      ::open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_PATH | O_CLOEXEC));
  if (!program.valid()) return base::fail_errno(errno, "--exec-file: " + path);
  return program;
}

base::Result<std::vector<DeviceNode>> find_devices(const std::string& kvm_device) {
  std::vector<DeviceNode> nodes;
  struct stat status {};
  if (::stat(kvm_device.c_str(), &status) != 0)
    return base::fail_errno(errno, "--kvm-device: " + kvm_device);
  if (!S_ISCHR(status.st_mode)) return wrong("--kvm-device: " + kvm_device + " is no device");
  nodes.push_back({kvm_device.substr(1), status.st_rdev});
  for (const char* const path : {"/dev/net/tun", "/dev/userfaultfd"}) {
    if (::stat(path, &status) == 0 && S_ISCHR(status.st_mode)) {
      nodes.push_back({path + 1, status.st_rdev});
    }
  }
  return nodes;
}

base::Result<base::UniqueFd> open_network_namespace(const std::string& path) {
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return base::fail_errno(errno, "--netns: " + path);
  if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return wrong("--netns: " + path + " is no network namespace");
  }
  return fd;
}

base::Result<> check_source(const FileSetting& file) {
  const char* const option = file.how == FileSetting::How::kHardLink ? "--link: " : "--bind: ";
  struct stat status {};
  if (::lstat(file.source.c_str(), &status) != 0)
    return base::fail_errno(errno, option + file.source);
  if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) return {};
  return wrong(option + file.source + " is neither a regular file nor a block device");
}

base::Result<> check_descriptors(const std::vector<int>& descriptors) {
  for (const int fd : descriptors) {
    if (::fcntl(fd, F_GETFD) < 0)
      return base::fail_errno(errno, "--keep-fd: " + std::to_string(fd));
  }
  return {};
}

}  // namespace mote::jailer
