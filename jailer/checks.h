#pragma once
// What is looked at on the host before the first step: a launch that cannot work is refused while
// nothing has been made yet.

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "jailer/options.h"

namespace mote::jailer {

/// A character device that the jail gets.
struct DeviceNode {
  std::string path;  ///< On the host and in the jail, without the first slash.
  dev_t number = 0;
};

/// Opens the program (O_PATH). It must be a regular file that can be run without a loader: the jail
/// has no libraries.
base::Result<base::UniqueFd> open_program(const std::string& path);

/// The KVM device, and those of /dev/net/tun and /dev/userfaultfd that the host has.
base::Result<std::vector<DeviceNode>> find_devices(const std::string& kvm_device);

/// Opens the file of a network namespace.
base::Result<base::UniqueFd> open_network_namespace(const std::string& path);

/// A kernel, a disk or the like: a regular file or block device, and no symbolic link.
base::Result<> check_source(const FileSetting& file);

base::Result<> check_descriptors(const std::vector<int>& descriptors);

}  // namespace mote::jailer
