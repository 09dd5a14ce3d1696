#include "machine.h"

#include <stdarg.h>

// Of the PVH start info (Xen include/public/arch-x86/hvm/start_info.h).
struct start_info {
  uint32_t magic;
  uint32_t version;
  uint32_t flags;
  uint32_t module_count;
  uint64_t modules;
  uint64_t command_line;
  uint64_t rsdp;
  uint64_t memory_map;
  uint32_t memory_map_entries;
};
struct memory_map_entry {
  uint64_t address;
  uint64_t size;
  uint32_t type;
  uint32_t reserved;
};

extern uint64_t start_info_address;

static const struct start_info* start_info(void) {
  return (const struct start_info*)start_info_address;
}

// GCC may call these for plain C.
void* memset(void* target, int value, size_t size) {
  void* const start = target;
  __asm__ volatile("rep stosb" : "+D"(target), "+c"(size) : "a"(value) : "memory");
  return start;
}
void* memcpy(void* restrict target, const void* restrict source, size_t size) {
  void* const start = target;
  __asm__ volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(size) : : "memory");
  return start;
}
int memcmp(const void* a, const void* b, size_t size) {
  const uint8_t* const left = a;
  const uint8_t* const right = b;
  for (size_t i = 0; i < size; ++i) {
    if (left[i] != right[i]) return left[i] - right[i];
  }
  return 0;
}

uint64_t ram_end(void) {
  const struct memory_map_entry* const map =
      (const struct memory_map_entry*)start_info()->memory_map;
  uint64_t end = 0;
  for (uint32_t i = 0; i < start_info()->memory_map_entries; ++i) {
    const uint64_t entry_end = map[i].address + map[i].size;
    if (map[i].type == 1 && entry_end <= 0xc0000000ull && entry_end > end) end = entry_end;
  }
  return end;
}

bool equal_text(const char* a, const char* b) {
  while (*a != 0 && *a == *b) {
    ++a;
    ++b;
  }
  return *a == *b;
}

static const char* find_argument(const char* name) {
  const char* at = (const char*)start_info()->command_line;
  while (at != 0 && *at != 0) {
    const char* word = at;
    const char* letter = name;
    while (*letter != 0 && *word == *letter) {
      ++word;
      ++letter;
    }
    if (*letter == 0 && *word == '=') return word + 1;
    while (*at != 0 && *at != ' ') ++at;
    while (*at == ' ') ++at;
  }
  return 0;
}

const char* text_argument(const char* name) {
  static char value[64];
  const char* const found = find_argument(name);
  size_t length = 0;
  while (found != 0 && length + 1 < sizeof(value) && found[length] != 0 && found[length] != ' ') {
    value[length] = found[length];
    ++length;
  }
  value[length] = 0;
  return value;
}

static int digit_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return 16;
}

uint64_t number_argument(const char* name, uint64_t when_absent) {
  const char* at = find_argument(name);
  if (at == 0) return when_absent;
  const bool hexadecimal = at[0] == '0' && at[1] == 'x';
  const unsigned base = hexadecimal ? 16 : 10;
  if (hexadecimal) at += 2;
  uint64_t value = 0;
  for (; (unsigned)digit_value(*at) < base; ++at) value = value * base + (unsigned)digit_value(*at);
  return value;
}

static void print_text(const char* text) {
  for (; *text != 0; ++text) out8(PORT_SERIAL, (uint8_t)*text);
}

static void print_number(uint64_t value, unsigned base) {
  char digits[21];
  size_t at = sizeof(digits);
  digits[--at] = 0;
  do {
    digits[--at] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  print_text(digits + at);
}

void print(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  for (; *format != 0; ++format) {
    if (*format != '%') {
      out8(PORT_SERIAL, (uint8_t)*format);
      continue;
    }
    switch (*++format) {
      case 's':
        print_text(va_arg(arguments, const char*));
        break;
      case 'c':
        out8(PORT_SERIAL, (uint8_t)va_arg(arguments, int));
        break;
      case 'd':
        print_number(va_arg(arguments, uint64_t), 10);
        break;
      case 'x':
        print_number(va_arg(arguments, uint64_t), 16);
        break;
      default:
        out8(PORT_SERIAL, (uint8_t)*format);
        break;
    }
  }
  va_end(arguments);
}

void reset_machine(void) {
  out8(PORT_KEYBOARD, 0xfe);
  for (;;) relax();
}
