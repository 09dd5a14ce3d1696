#pragma once
// A launch as an ordered list of steps, checked before it begins and printable before it is done.
// Each step fails closed: what was made until then is removed, and the monitor does not start.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "jailer/options.h"

namespace mote::jailer {

struct Step {
  std::string text;  ///< For people: the imperative of what run() does.
  std::move_only_function<base::Result<>()> run;
};

class Plan final {
 public:
  /// Checks all that can be checked beforehand. `options` outlives the plan.
  static base::Result<std::unique_ptr<Plan>> make(const Options& options);
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  /// One numbered line for each step.
  [[nodiscard]] std::string describe() const;

  /// Does it. Returns only when a step failed, with that step's text in the error, after all that
  /// was made is removed.
  base::Error execute();

 private:
  struct State;
  explicit Plan(const Options& options);

  base::Result<> check();
  void add_steps();
  void add_folder_steps();
  void add_file_steps();
  void add_last_steps();
  void add(std::string text, std::move_only_function<base::Result<>()> run);

  std::unique_ptr<State> state_;
  std::vector<Step> steps_;
};

}  // namespace mote::jailer
