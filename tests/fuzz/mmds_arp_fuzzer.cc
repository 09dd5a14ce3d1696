// Any frame of a guest: an answer goes to its sender alone, and an answer is never answered.

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "devices/mmds/arp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr mote::mmds::Mac kMac = {6, 1, 2, 3, 4, 5};
  constexpr mote::mmds::Ipv4 kAddress = {169, 254, 169, 254};
  const auto reply = mote::mmds::answer_arp(std::as_bytes(std::span(data, size)), kMac, kAddress);
  if (!reply) return 0;
  if (size < reply->size() || std::memcmp(reply->data(), data + 6, 6) != 0) std::abort();
  if (mote::mmds::answer_arp(*reply, kMac, kAddress)) std::abort();
  return 0;
}
