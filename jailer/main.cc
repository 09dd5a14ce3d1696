// jailer: starts one monitor with nothing but what it needs. docs/jailer.md.

#include <unistd.h>

#include <cstdio>

#include "jailer/options.h"
#include "jailer/plan.h"

int main(int argc, char** argv) {
  using namespace mote;
  const auto parsed = jailer::parse_options(argc, argv);
  if (const auto* const leave = std::get_if<jailer::Leave>(&parsed)) return leave->code;
  const auto& options = std::get<jailer::Options>(parsed);
  const auto plan = jailer::Plan::make(options);
  if (!plan) {
    std::fprintf(stderr, "jailer: %s\n", plan.error().message().c_str());
    return 1;
  }
  if (options.dry_run) {
    std::fputs((*plan)->describe().c_str(), stdout);
    return 0;
  }
  if (::geteuid() != 0) {
    std::fputs("jailer: must be started by root, whose rights it gives up\n", stderr);
    return 1;
  }
  const base::Error error = (*plan)->execute();
  std::fprintf(stderr, "jailer: %s\n", error.message().c_str());
  return 1;
}
