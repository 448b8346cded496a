#include "fractal/bitmap.h"

#include <array>
#include <bit>
#include <cstring>

#include "tensor/rng.h"

namespace seedbed::fractal {

namespace {

// The row moved towards larger x by `bits` (1 to 63).
uint64_t shifted_word(const uint64_t* row, int64_t word, int bits) {
  const uint64_t carry = word > 0 ? row[word - 1] >> (64 - bits) : 0;
  return row[word] << bits | carry;
}

// Byte b of the result is 0xFF where bit b of `byte` is set.
constexpr std::array<uint64_t, 256> make_spread_table() {
  std::array<uint64_t, 256> table{};
  for (int byte = 0; byte < 256; ++byte)
    for (int bit = 0; bit < 8; ++bit)
      if (byte >> bit & 1) table[byte] |= uint64_t{0xFF} << (8 * bit);
  return table;
}

constexpr std::array<uint64_t, 256> kSpread = make_spread_table();

}  // namespace

int64_t count_set(const Bitmap& bitmap) {
  int64_t count = 0;
  for (uint64_t word : bitmap.words) count += std::popcount(word);
  return count;
}

void dilate_to_patches(Bitmap& bitmap) {
  std::vector<uint64_t> wide(bitmap.words.size());
  for (int64_t y = 0; y < bitmap.size; ++y) {
    const uint64_t* row = &bitmap.words[y * bitmap.row_words];
    for (int64_t w = 0; w < bitmap.row_words; ++w)
      wide[y * bitmap.row_words + w] = shifted_word(row, w, 1) | shifted_word(row, w, 2) | shifted_word(row, w, 3);
  }
  const int tail = bitmap.size % 64;
  const uint64_t last_word = tail == 0 ? ~uint64_t{0} : (uint64_t{1} << tail) - 1;
  for (int64_t y = 0; y < bitmap.size; ++y) {
    uint64_t* row = &bitmap.words[y * bitmap.row_words];
    std::memset(row, 0, bitmap.row_words * sizeof(uint64_t));
    for (int64_t above = std::max<int64_t>(0, y - 3); above < y; ++above)
      for (int64_t w = 0; w < bitmap.row_words; ++w) row[w] |= wide[above * bitmap.row_words + w];
    row[bitmap.row_words - 1] &= last_word;
  }
}

void thin_by_coin(Bitmap& bitmap, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint64_t> coin(bitmap.words.size());
  for (uint64_t& word : coin) word = rng.next();
  // 256/511 is one half and a little: one more place in 511 is drawn and set.
  const uint64_t bits = coin.size() * 64;
  for (uint64_t i = 0; i < bits / 511; ++i) {
    const uint64_t place = rng.below(bits);
    coin[place >> 6] |= uint64_t{1} << (place & 63);
  }
  for (size_t i = 0; i < coin.size(); ++i) bitmap.words[i] &= coin[i];
}

void expand_flipped(const Bitmap& bitmap, uint8_t value, uint8_t* pixels) {
  const uint64_t values = 0x0101010101010101ULL * value;
  for (int64_t y = 0; y < bitmap.size; ++y) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&bitmap.words[y * bitmap.row_words]);  // little endian
    uint8_t* row = pixels + (bitmap.size - 1 - y) * bitmap.size;
    int64_t x = 0;
    for (; x + 8 <= bitmap.size; x += 8) {
      const uint64_t eight = kSpread[bytes[x / 8]] & values;
      std::memcpy(row + x, &eight, 8);
    }
    for (; x < bitmap.size; ++x) row[x] = bytes[x / 8] >> (x % 8) & 1 ? value : 0;
  }
}

}  // namespace seedbed::fractal
