// Answers on virtio-net as the host `ip=` (a number): ARP requests, ICMP echo, and UDP to port 7
// (echo) until a datagram to port 9 comes. Announces itself by one gratuitous ARP.

#include "packet.h"
#include "virtio.h"

enum {
  RECEIVE = 0,
  TRANSMIT = 1,
  BUFFERS = 32,
  BUFFER_SIZE = 2048,
  NET_HEADER = 12,
  ETHERNET = 14,
  TYPE_IP = 0x0800,
  TYPE_ARP = 0x0806,
  PROTOCOL_ICMP = 1,
  PROTOCOL_UDP = 17,
  PORT_ECHO = 7,
  PORT_QUIT = 9,
};

#define FEATURE_MAC (1ull << 5)

static struct queue_memory receive_memory;
static struct queue_memory transmit_memory;
static struct queue receive_queue;
static struct queue transmit_queue;
static uint8_t buffers[BUFFERS][BUFFER_SIZE];
static uint8_t outgoing[BUFFER_SIZE];
static uint8_t mac[6];
static uint32_t address;

static void swap(uint8_t* a, uint8_t* b, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    const uint8_t kept = a[i];
    a[i] = b[i];
    b[i] = kept;
  }
}

static void offer_receive_buffer(uint16_t index) {
  const struct buffer part = {buffers[index], BUFFER_SIZE, DESCRIPTOR_WRITE};
  offer(&receive_queue, index, &part, 1);
}

/// Sends a frame, which stands behind NET_HEADER zero bytes in `outgoing`.
static void send(size_t frame_size) {
  for (size_t i = 0; i < NET_HEADER; ++i) outgoing[i] = 0;
  const struct buffer part = {outgoing, (uint32_t)(NET_HEADER + frame_size), 0};
  offer(&transmit_queue, 0, &part, 1);
  kick(&transmit_queue);
  struct used_element used;
  require(wait_used(&transmit_queue, &used, 30), "a frame was not taken");
}

static void announce(void) {
  uint8_t* const frame = outgoing + NET_HEADER;
  for (unsigned i = 0; i < 6; ++i) frame[i] = 0xff;
  copy(frame + 6, mac, 6);
  put16(frame + 12, TYPE_ARP);
  uint8_t* const arp = frame + ETHERNET;
  put16(arp, 1);
  put16(arp + 2, TYPE_IP);
  arp[4] = 6;
  arp[5] = 4;
  put16(arp + 6, 1);
  copy(arp + 8, mac, 6);
  put32(arp + 14, address);
  for (unsigned i = 18; i < 24; ++i) arp[i] = 0;
  put32(arp + 24, address);
  send(ETHERNET + 28);
}

/// Turns a request in `outgoing` into its answer; false when it is not for us.
static bool answer_arp(uint8_t* arp, size_t size) {
  if (size < 28 || get16(arp + 6) != 1 || get32(arp + 24) != address) return false;
  put16(arp + 6, 2);
  copy(arp + 18, arp + 8, 6);
  copy(arp + 8, mac, 6);
  swap(arp + 14, arp + 24, 4);
  return true;
}

static bool answer_ip(uint8_t* ip, size_t size, bool* quit) {
  if (size < 20 || ip[0] != 0x45 || get32(ip + 16) != address) return false;
  const uint16_t total = get16(ip + 2);
  if (total < 28 || total > size || checksum(ip, 20) != 0) return false;
  swap(ip + 12, ip + 16, 4);  // Order does not matter to the checksums.
  uint8_t* const payload = ip + 20;
  if (ip[9] == PROTOCOL_ICMP && payload[0] == 8) {
    payload[0] = 0;
    put16(payload + 2, 0);
    put16(payload + 2, checksum(payload, (size_t)total - 20));
    return true;
  }
  if (ip[9] != PROTOCOL_UDP) return false;
  *quit = get16(payload + 2) == PORT_QUIT;
  if (get16(payload + 2) != PORT_ECHO) return false;
  swap(payload, payload + 2, 2);
  return true;
}

/// Answers one received frame; true when the test asked us to end.
static bool handle(const uint8_t* packet, size_t size) {
  bool quit = false;
  if (size < NET_HEADER + ETHERNET) return false;
  copy(outgoing, packet, size);
  uint8_t* const frame = outgoing + NET_HEADER;
  const size_t body = size - NET_HEADER - ETHERNET;
  bool answered = false;
  if (get16(frame + 12) == TYPE_ARP) answered = answer_arp(frame + ETHERNET, body);
  if (get16(frame + 12) == TYPE_IP) answered = answer_ip(frame + ETHERNET, body, &quit);
  if (answered) {
    copy(frame, frame + 6, 6);
    copy(frame + 6, mac, 6);
    send(size - NET_HEADER);
  }
  return quit;
}

int main(void) {
  const uint64_t device = find_device(VIRTIO_NET, 0);
  require(device != 0, "no network device");
  address = (uint32_t)number_argument("ip", 0);
  const bool has_mac = (device_features(device) & FEATURE_MAC) != 0;
  negotiate(device, FEATURE_MAC);
  for (unsigned i = 0; i < 6; ++i) {
    mac[i] = has_mac ? load8(device + REG_CONFIG + i) : (uint8_t)(i == 0 ? 2 : i);
  }
  set_up_queue(&receive_queue, device, RECEIVE, BUFFERS, &receive_memory);
  set_up_queue(&transmit_queue, device, TRANSMIT, BUFFERS, &transmit_memory);
  start_device(device);
  for (uint16_t i = 0; i < BUFFERS; ++i) offer_receive_buffer(i);
  kick(&receive_queue);
  announce();
  print("net up, mac %x:%x:%x:%x:%x:%x\n", (uint64_t)mac[0], (uint64_t)mac[1], (uint64_t)mac[2],
        (uint64_t)mac[3], (uint64_t)mac[4], (uint64_t)mac[5]);
  for (uint64_t frames = 0;; ++frames) {
    struct used_element used;
    require(wait_used(&receive_queue, &used, 60), "no frame for a minute");
    require(used.id < BUFFERS && used.length <= BUFFER_SIZE);
    const bool quit = handle(buffers[used.id], used.length);
    offer_receive_buffer((uint16_t)used.id);
    kick(&receive_queue);
    if (!quit) continue;
    print("net ok after %d frames\n", frames + 1);
    reset_machine();
  }
}
