// Asks for its metadata at 169.254.169.254 by HTTP/1.1 over a TCP of its own: `path=` again and
// again, and prints every answer that differs from the one before. With `v2=1` each question is
// preceded by one for a token. Ends when the answer's body is "quit".

#include "packet.h"
#include "virtio.h"

enum {
  RECEIVE = 0,
  TRANSMIT = 1,
  BUFFERS = 32,
  BUFFER_SIZE = 2048,
  NET_HEADER = 12,
  ETHERNET = 14,
  IP = 20,
  TCP = 20,
  TYPE_IP = 0x0800,
  TYPE_ARP = 0x0806,
  PROTOCOL_TCP = 6,
  FIN = 1,
  SYN = 2,
  RST = 4,
  PSH = 8,
  ACK = 16,
  ANSWER_SIZE = 16384,
};

#define METADATA_ADDRESS 0xa9fea9feu
#define OWN_ADDRESS 0x0a000002u

static struct queue_memory receive_memory;
static struct queue_memory transmit_memory;
static struct queue receive_queue;
static struct queue transmit_queue;
static uint8_t buffers[BUFFERS][BUFFER_SIZE];
static uint8_t outgoing[BUFFER_SIZE];
static uint8_t incoming[BUFFER_SIZE];
static uint8_t mac[6] = {2, 0, 0, 0, 0, 0x42};
static uint8_t peer_mac[6];
static char path[256];
static char request[1024];
static char answer[ANSWER_SIZE];
static char shown[ANSWER_SIZE];

// The connection under way.
static uint16_t port = 40000;
static uint32_t sequence;
static uint32_t expected;
static size_t answer_size;

static void offer_receive_buffer(uint16_t index) {
  const struct buffer part = {buffers[index], BUFFER_SIZE, DESCRIPTOR_WRITE};
  offer(&receive_queue, index, &part, 1);
}

static void send(size_t frame_size) {
  for (size_t i = 0; i < NET_HEADER; ++i) outgoing[i] = 0;
  const struct buffer part = {outgoing, (uint32_t)(NET_HEADER + frame_size), 0};
  offer(&transmit_queue, 0, &part, 1);
  kick(&transmit_queue);
  struct used_element used;
  require(wait_used(&transmit_queue, &used, 30), "a frame was not taken");
}

/// Takes the next frame into `incoming`; its size, 0 when none comes for a second.
static size_t take(void) {
  struct used_element used;
  if (!wait_used(&receive_queue, &used, 1)) return 0;
  require(used.id < BUFFERS && used.length > NET_HEADER && used.length <= BUFFER_SIZE);
  const size_t size = used.length - NET_HEADER;
  copy(incoming, buffers[used.id] + NET_HEADER, size);
  offer_receive_buffer((uint16_t)used.id);
  kick(&receive_queue);
  return size;
}

static uint8_t* start_frame(const uint8_t* to, uint16_t type) {
  uint8_t* const frame = outgoing + NET_HEADER;
  copy(frame, to, 6);
  copy(frame + 6, mac, 6);
  put16(frame + 12, type);
  return frame + ETHERNET;
}

static void resolve(void) {
  static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  for (unsigned tries = 0; tries < 30; ++tries) {
    uint8_t* const arp = start_frame(everybody, TYPE_ARP);
    put16(arp, 1);
    put16(arp + 2, TYPE_IP);
    arp[4] = 6;
    arp[5] = 4;
    put16(arp + 6, 1);
    copy(arp + 8, mac, 6);
    put32(arp + 14, OWN_ADDRESS);
    for (unsigned i = 18; i < 24; ++i) arp[i] = 0;
    put32(arp + 24, METADATA_ADDRESS);
    send(ETHERNET + 28);
    const size_t size = take();
    const uint8_t* const reply = incoming + ETHERNET;
    if (size < ETHERNET + 28 || get16(incoming + 12) != TYPE_ARP || get16(reply + 6) != 2 ||
        get32(reply + 14) != METADATA_ADDRESS) {
      continue;
    }
    copy(peer_mac, reply + 8, 6);
    return;
  }
  require(false, "nobody has the metadata address");
}

/// The checksum of a segment with its addresses, protocol and length; 0 for one that is right.
static uint16_t tcp_checksum(const uint8_t* ip, const uint8_t* tcp, size_t size) {
  return fold(add_up(tcp, size, add_up(ip + 12, 8, PROTOCOL_TCP + (uint32_t)size)));
}

static void send_segment(uint8_t flags, const char* payload, size_t size) {
  uint8_t* const ip = start_frame(peer_mac, TYPE_IP);
  const size_t total = IP + TCP + size;
  for (size_t i = 0; i < IP + TCP; ++i) ip[i] = 0;
  ip[0] = 0x45;
  put16(ip + 2, (uint16_t)total);
  ip[8] = 64;
  ip[9] = PROTOCOL_TCP;
  put32(ip + 12, OWN_ADDRESS);
  put32(ip + 16, METADATA_ADDRESS);
  put16(ip + 10, checksum(ip, IP));
  uint8_t* const tcp = ip + IP;
  put16(tcp, port);
  put16(tcp + 2, 80);
  put32(tcp + 4, sequence);
  put32(tcp + 8, expected);
  tcp[12] = TCP / 4 << 4;
  tcp[13] = flags;
  put16(tcp + 14, 4096);
  copy(tcp + TCP, (const uint8_t*)payload, size);
  put16(tcp + 16, tcp_checksum(ip, tcp, TCP + size));
  send(ETHERNET + total);
}

struct segment {
  uint8_t flags;
  uint32_t sequence;
  uint32_t acknowledgment;
  const uint8_t* payload;
  size_t size;
};
/// The next segment of this connection; false when none comes for a second.
static bool take_segment(struct segment* segment) {
  for (unsigned frames = 0; frames < 100; ++frames) {
    const size_t size = take();
    if (size == 0) return false;
    const uint8_t* const ip = incoming + ETHERNET;
    if (size < ETHERNET + IP + TCP || get16(incoming + 12) != TYPE_IP) continue;
    if (get32(ip + 12) != METADATA_ADDRESS || get32(ip + 16) != OWN_ADDRESS) continue;
    const size_t total = get16(ip + 2);
    require(ip[0] == 0x45 && ip[9] == PROTOCOL_TCP && checksum(ip, IP) == 0);
    require(total >= IP + TCP && total <= size - ETHERNET);
    const uint8_t* const tcp = ip + IP;
    require(tcp_checksum(ip, tcp, total - IP) == 0, "a wrong TCP checksum");
    if (get16(tcp) != 80 || get16(tcp + 2) != port) continue;
    const size_t header = (size_t)(tcp[12] >> 4) * 4;
    require(header >= TCP && header <= total - IP);
    segment->flags = tcp[13];
    segment->sequence = get32(tcp + 4);
    segment->acknowledgment = get32(tcp + 8);
    segment->payload = tcp + header;
    segment->size = total - IP - header;
    return true;
  }
  return false;
}

/// Opens a connection. False when it is reset, as one of another life may be.
static bool connect(void) {
  port = port == 65535 ? 40000 : (uint16_t)(port + 1);
  sequence = (uint32_t)time_stamp();
  struct segment segment;
  for (unsigned tries = 0; tries < 10; ++tries) {
    expected = 0;
    send_segment(SYN, "", 0);
    if (!take_segment(&segment)) continue;
    if ((segment.flags & RST) != 0) return false;
    require(segment.flags == (SYN | ACK) && segment.acknowledgment == sequence + 1);
    ++sequence;
    expected = segment.sequence + 1;
    return true;
  }
  require(false, "no connection");
  return false;
}

/// Sends `request` and reads until the service ends the connection.
static bool ask(size_t request_size) {
  answer_size = 0;
  if (!connect()) return false;
  struct segment segment;
  send_segment(ACK | PSH, request, request_size);
  const uint32_t behind = sequence + (uint32_t)request_size;
  for (unsigned silences = 0; silences < 10;) {
    if (!take_segment(&segment)) {
      ++silences;
      if (answer_size == 0) send_segment(ACK | PSH, request, request_size);
      continue;
    }
    if ((segment.flags & RST) != 0) return false;
    if (segment.acknowledgment == behind) sequence = behind;
    if (segment.sequence != expected) continue;
    require(answer_size + segment.size < ANSWER_SIZE);
    copy((uint8_t*)answer + answer_size, segment.payload, segment.size);
    answer_size += segment.size;
    const bool last = (segment.flags & FIN) != 0;
    expected += (uint32_t)segment.size + (last ? 1 : 0);
    answer[answer_size] = 0;
    if (last) {
      send_segment(FIN | ACK, "", 0);
      return true;
    }
    if (segment.size > 0) send_segment(ACK, "", 0);
  }
  require(false, "the answer did not end");
  return false;
}

static size_t append(size_t at, const char* text) {
  for (; *text != 0; ++text) {
    require(at + 1 < sizeof(request));
    request[at++] = *text;
  }
  return at;
}

static char* body_of_answer(void) {
  for (size_t i = 0; i + 3 < answer_size; ++i) {
    if (answer[i] == '\r' && answer[i + 1] == '\n' && answer[i + 2] == '\r') return answer + i + 4;
  }
  require(false, "an answer without an end of its head");
  return answer;
}

int main(void) {
  const uint64_t device = find_device(VIRTIO_NET, 0);
  require(device != 0, "no network device");
  const char* given = text_argument("path");
  for (size_t i = 0; i + 1 < sizeof(path) && *given != 0; ++i) path[i] = *given++;
  const bool tokens = number_argument("v2", 0) != 0;
  negotiate(device, 0);
  set_up_queue(&receive_queue, device, RECEIVE, BUFFERS, &receive_memory);
  set_up_queue(&transmit_queue, device, TRANSMIT, BUFFERS, &transmit_memory);
  start_device(device);
  for (uint16_t i = 0; i < BUFFERS; ++i) offer_receive_buffer(i);
  kick(&receive_queue);
  resolve();
  print("metadata at %x:%x:%x:%x:%x:%x\n", (uint64_t)peer_mac[0], (uint64_t)peer_mac[1],
        (uint64_t)peer_mac[2], (uint64_t)peer_mac[3], (uint64_t)peer_mac[4], (uint64_t)peer_mac[5]);
  for (;;) {
    static char token[64];
    token[0] = 0;
    if (tokens) {
      const size_t size = append(0,
                                 "PUT /latest/api/token HTTP/1.1\r\nConnection: close\r\n"
                                 "X-metadata-token-ttl-seconds: 60\r\n\r\n");
      if (!ask(size)) continue;
      const char* const body = body_of_answer();
      for (size_t i = 0; i + 1 < sizeof(token); ++i) {
        token[i] = body[i];
        token[i + 1] = 0;
        if (body[i] == 0) break;
      }
    }
    size_t size = append(append(append(0, "GET "), path), " HTTP/1.1\r\nConnection: close\r\n");
    if (tokens) size = append(append(append(size, "X-metadata-token: "), token), "\r\n");
    if (!ask(append(size, "\r\n"))) continue;
    answer[12] = 0;  // Behind "HTTP/1.1 200".
    char* const body = body_of_answer();
    if (!equal_text(body, shown)) print("answer %s: %s\n", answer + 9, body);
    copy((uint8_t*)shown, (const uint8_t*)body, ANSWER_SIZE - (size_t)(body - answer));
    if (equal_text(body, "quit")) reset_machine();
    sleep_ms(20);
  }
}
