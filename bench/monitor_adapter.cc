#include "bench/monitor_adapter.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <fstream>
#include <map>
#include <sstream>

extern char** environ;

namespace mote::bench {
namespace {

using Values = std::map<std::string, std::string>;

std::string expand(std::string text, const Values& values) {
  for (const auto& [name, value] : values) {
    const std::string place = "{" + name + "}";
    for (size_t at = 0; (at = text.find(place, at)) != std::string::npos; at += value.size()) {
      text.replace(at, place.size(), value);
    }
  }
  return text;
}

std::vector<std::string> expand(const std::vector<std::string>& words, const Values& values) {
  std::vector<std::string> expanded;
  for (const std::string& word : words) expanded.push_back(expand(word, values));
  return expanded;
}

std::vector<std::string> words_of(const boost::json::object& object, const char* name) {
  std::vector<std::string> words;
  const auto* const value = object.if_contains(name);
  if (value == nullptr || !value->is_array()) return words;
  for (const auto& word : value->get_array()) {
    if (word.is_string()) words.emplace_back(word.get_string());
  }
  return words;
}

std::string text_of(const boost::json::object& object, const char* name) {
  const auto* const value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

base::Result<MonitorAdapter> MonitorAdapter::load(const std::string& name, const std::string& file,
                                                  std::string binary) {
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  boost::system::error_code error;
  const auto document = boost::json::parse(text.str(), error);
  if (!stream || error || !document.is_object()) {
    return base::fail(base::ErrorCode::kInvalidArgument, file + " is not a JSON object");
  }
  const auto& object = document.get_object();
  MonitorAdapter adapter;
  adapter.name_ = name;
  adapter.binary_ = binary.empty() ? text_of(object, "binary") : std::move(binary);
  adapter.command_ = words_of(object, "command");
  adapter.api_command_ = words_of(object, "api_command");
  adapter.config_ = text_of(object, "config");
  if (adapter.command_.empty()) {
    return base::fail(base::ErrorCode::kInvalidArgument, file + ": command is missing");
  }
  if (::access(adapter.binary_.c_str(), X_OK) != 0) {
    return base::fail_errno(errno, name + ": cannot run \"" + adapter.binary_ + "\"");
  }
  return adapter;
}

std::vector<std::string> MonitorAdapter::command(const Guest& guest, const std::string& folder,
                                                 const std::string& tag) const {
  const std::string config = folder + "/" + name_ + "-" + tag + ".json";
  const Values values = {{"binary", binary_},
                         {"kernel", guest.kernel},
                         {"args", guest.args},
                         {"memory_mib", std::to_string(guest.memory_mib)},
                         {"config", config}};
  if (!config_.empty()) std::ofstream(config) << expand(config_, values);
  return expand(command_, values);
}

std::vector<std::string> MonitorAdapter::api_command(const std::string& socket) const {
  return expand(api_command_, {{"binary", binary_}, {"socket", socket}});
}

base::Result<Process> spawn(const std::vector<std::string>& command) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::fail_errno(errno, "pipe2");
  Process process;
  process.output.reset(ends[0]);
  const base::UniqueFd input(ends[1]);
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  const int code =
      ::posix_spawn(&process.pid, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return base::fail_errno(code, words[0]);
  return process;
}

bool wait_for_guest(const Process& process) {
  char byte = 0;
  while (::read(process.output.get(), &byte, 1) == 1) {
    if (byte == '!') return true;
  }
  return false;
}

}  // namespace mote::bench
