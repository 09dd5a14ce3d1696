#pragma once
// A folder under our feet while somebody else may be planting things in it: all is done relative to
// descriptors, and no symbolic link is ever followed (openat2(2), RESOLVE_NO_SYMLINKS).

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::jailer {

/// What was made so far, so that a failure leaves nothing half-made behind. One thread.
class Ledger final {
 public:
  /// `name` below `folder` was made; `is_folder` says how to remove it. Keeps a duplicate of
  /// `folder`.
  void note(int folder, const std::string& name, bool is_folder);
  /// Removes all of it, the last first. What refuses to go is said on standard error.
  void undo();

 private:
  struct Entry {
    base::UniqueFd folder;
    std::string name;
    bool is_folder = false;
  };
  std::vector<Entry> entries_;
};

/// Opens an existing path of the host as an O_PATH folder, links followed: for what the operator
/// names.
base::Result<base::UniqueFd> open_host_folder(const std::string& path);

/// Refuses a folder that anybody but root (or `also`) may write to.
base::Result<> check_trusted(int folder, const std::string& path, uid_t also);

/// Makes, if it is missing, and opens `name` (one part) below `parent`. A link or a file in its
/// place is refused.
base::Result<base::UniqueFd> make_folder(int parent, const std::string& name, mode_t mode,
                                         Ledger& ledger);

/// Where `path` (relative, without "..") is to be made: its folder, made if it is missing, and its
/// last part.
struct Place {
  base::UniqueFd folder;
  std::string name;
};
base::Result<Place> make_place(int root, const std::string& path, Ledger& ledger);

}  // namespace mote::jailer
