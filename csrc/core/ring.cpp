#include "core/ring.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <thread>
#include <type_traits>

namespace ringmeter {

namespace {

// A directory entry: the lap in the upper 22 bits, the chunk's address divided by 64 in the lower 42.
// Zero leads nowhere. User-space addresses have 47 or 48 bits on every 64-bit system that we build for.
constexpr unsigned kAddressBits = 42;
constexpr std::uint64_t kLapMask = (std::uint64_t{1} << (64 - kAddressBits)) - 1;

std::uint64_t make_entry(const Chunk* chunk, std::uint64_t lap) {
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(chunk)) >> 6;
  if (address >> kAddressBits != 0) throw std::bad_alloc();
  return (lap << kAddressBits) | address;
}

Chunk* chunk_of(std::uint64_t entry) {
  const std::uint64_t address = (entry & ((std::uint64_t{1} << kAddressBits) - 1)) << 6;
  return reinterpret_cast<Chunk*>(static_cast<std::uintptr_t>(address));
}

std::uint64_t lap_of(std::uint64_t entry) { return entry >> kAddressBits; }

// Whether lap `a` comes after lap `b`, both modulo 2^22.
bool is_later(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t distance = (a - b) & kLapMask;
  return distance != 0 && distance <= kLapMask / 2;
}

// Fills a place that is set only once; racing callers get the same object. Throws std::bad_alloc.
template <class T>
T& install(std::atomic<T*>& place) {
  auto fresh = std::make_unique<T>();
  T* existing = nullptr;
  // Release publishes the new object, acquire is for the one that was quicker.
  if (place.compare_exchange_strong(existing, fresh.get(), std::memory_order_acq_rel,
                                    std::memory_order_acquire)) {
    return *fresh.release();
  }
  return *existing;
}

struct Division {
  std::uint64_t quotient;
  std::size_t remainder;
};

// 32-bit division takes half the time, and 2^32 chunks are 2^42 entries.
inline Division divide(std::uint64_t number, std::size_t by) {
  if (((number | by) >> 32) == 0) {
    const auto a = static_cast<std::uint32_t>(number);
    const auto b = static_cast<std::uint32_t>(by);
    return {a / b, a % b};
  }
  return {number / by, static_cast<std::size_t>(number % by)};
}

std::size_t capacity_for(std::uint64_t min_entries) {
  if (min_entries > std::uint64_t{1} << 48) throw std::bad_alloc();
  // One chunk for the newest entries, one so that kSlack holds, whatever their alignment.
  return static_cast<std::size_t>((min_entries + kChunkSize - 1) / kChunkSize) + 2;
}

// Waits for another thread's next few instructions: its store is nanoseconds away, unless it was
// put to sleep in between.
class Spin {
 public:
  void once() {
    if (++turns_ > 64) std::this_thread::yield();
  }

 private:
  unsigned turns_ = 0;
};

// What `make` gives, tried until there is memory for it: for who can no longer go back.
template <class Make>
auto when_there_is_memory(Make&& make) {
  for (Spin spin;; spin.once()) {
    try {
      return make();
    } catch (const std::bad_alloc&) {
    }
  }
}

// Copies slots, and tells whether all have certainly landed. Two at a time: they are read back as pairs, and
// a processor is slow to hand two stores to one load. A mark is known by its upper half, wherever that is
// seen: halves are what every processor can compare four at a time.
bool copy_landed(const std::atomic<SlotBits>* slots, std::size_t n, double* out) {
  using Pair = SlotBits __attribute__((vector_size(16)));
  using Halves = std::uint32_t __attribute__((vector_size(16)));
  constexpr auto kMark = static_cast<std::uint32_t>(kEmpty >> 32);
  static_assert(kPending >> 32 == kMark, "one comparison is for both marks");
  const Halves mark = {kMark, kMark, kMark, kMark};
  auto is_mark = mark != mark;
  std::size_t i = 0;
  for (; i + 1 < n; i += 2) {
    const Pair bits = {slots[i].load(std::memory_order_acquire),       // L
                       slots[i + 1].load(std::memory_order_acquire)};  // L
    Halves halves;
    std::memcpy(&halves, &bits, sizeof halves);
    is_mark |= halves == mark;
    std::memcpy(out + i, &bits, sizeof bits);
  }
  if (i < n) {
    const SlotBits bits = slots[i].load(std::memory_order_acquire);  // L
    if (!is_landed(bits)) return false;
    out[i] = decode(bits);
  }
  return (is_mark[0] | is_mark[1] | is_mark[2] | is_mark[3]) == 0;
}

}  // namespace

inline Ring::Place Ring::place(std::uint64_t chunk_number) const {
  if (chunk_number < capacity_) return {static_cast<std::size_t>(chunk_number), 0};  // the first lap
  const Division division = divide(chunk_number, capacity_);
  return {division.remainder, division.quotient & kLapMask};
}

Ring::Ring(std::uint64_t min_entries)
    : capacity_(capacity_for(min_entries)),
      page_count_((capacity_ + Page::kEntries - 1) / Page::kEntries),
      value_cells_(capacity_),
      count_cells_(capacity_),
      pages_(new std::atomic<Page*>[page_count_]) {
  for (std::size_t i = 0; i < page_count_; ++i) pages_[i].store(nullptr, std::memory_order_relaxed);
}

Ring::~Ring() {
  for (std::size_t i = 0; i < page_count_; ++i) {
    Page* page = pages_[i].load(std::memory_order_relaxed);
    if (page == nullptr) continue;
    for (auto& entry : page->entry) delete chunk_of(entry.load(std::memory_order_relaxed));
    delete page;
  }
  for (auto& spare : spares_) delete spare.load(std::memory_order_relaxed);
  Chunk* chunk = set_aside_.load(std::memory_order_relaxed);
  while (chunk != nullptr) {
    Chunk* next = chunk->next_set_aside;
    delete chunk;
    chunk = next;
  }
}

Ring::Page& Ring::page(std::size_t index) {
  Page* existing = pages_[index].load(std::memory_order_acquire);
  return existing != nullptr ? *existing : install(pages_[index]);
}

Chunk* Ring::take_chunk() {
  for (auto& spare : spares_) {
    if (spare.load(std::memory_order_relaxed) == nullptr) continue;     // only a hint
    Chunk* chunk = spare.exchange(nullptr, std::memory_order_acquire);  // matches keep_chunk()
    if (chunk == nullptr) continue;
    if (chunk->is_empty) return chunk;
    if (chunk->all_landed()) {
      chunk->reset();  // D
      return chunk;
    }
    set_aside(chunk);
  }
  return new Chunk;
}

void Ring::keep_chunk(Chunk* chunk) {
  for (auto& spare : spares_) {
    Chunk* expected = nullptr;
    if (spare.compare_exchange_strong(expected, chunk, std::memory_order_release,
                                      std::memory_order_relaxed)) {
      return;
    }
  }
  if (chunk->was_live) {
    set_aside(chunk);
  } else {
    delete chunk;
  }
}

void Ring::retire(Chunk* chunk) {
  chunk->was_live = true;  // ours alone since B took it out of the directory
  chunk->is_empty = false;
  keep_chunk(chunk);
}

void Ring::set_aside(Chunk* chunk) {
  Chunk* top = set_aside_.load(std::memory_order_relaxed);
  do {
    chunk->next_set_aside = top;
    // Release, matched by nobody: the stack is only read by the destructor.
  } while (
      !set_aside_.compare_exchange_weak(top, chunk, std::memory_order_release, std::memory_order_relaxed));
}

// The chunk of that number, or null when the ring has moved a lap past it.
Chunk* Ring::find_or_install(std::uint64_t chunk_number) {
  const Place where = place(chunk_number);
  std::atomic<std::uint64_t>& entry = page(where.slot / Page::kEntries).entry[where.slot % Page::kEntries];
  std::uint64_t seen = entry.load(std::memory_order_acquire);
  Chunk* fresh = nullptr;
  while (seen == 0 || lap_of(seen) != where.lap) {
    if (has_left(chunk_number) || (seen != 0 && is_later(lap_of(seen), where.lap))) {
      if (fresh != nullptr) keep_chunk(fresh);
      return nullptr;
    }
    if (fresh == nullptr) fresh = take_chunk();
    if (entry.compare_exchange_strong(seen, make_entry(fresh, where.lap), std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {  // B
      if (seen != 0) retire(chunk_of(seen));
      newest_.store(make_entry(fresh, chunk_number & kLapMask), std::memory_order_release);
      return fresh;
    }
  }
  if (fresh != nullptr) keep_chunk(fresh);
  return chunk_of(seen);
}

Chunk* Ring::writable(std::uint64_t chunk_number, bool with_count, bool with_low) {
  Chunk* chunk = find_or_install(chunk_number);
  if (chunk == nullptr) return nullptr;
  if (with_count) chunk->counts();
  if (with_low) chunk->lows();
  return chunk;
}

// The chunk of that number if it was installed last, or null.
inline Chunk* Ring::newest(std::uint64_t chunk_number) const {
  const std::uint64_t newest = newest_.load(std::memory_order_acquire);
  return lap_of(newest) == (chunk_number & kLapMask) ? chunk_of(newest) : nullptr;
}

void Ring::prepare(double low, double count) {
  const bool with_count = count != Chunk::kDefaultCount;
  const bool with_low = low != Chunk::kDefaultLow;
  const Position position = head();
  if (position % kChunkSize != 0 && !with_count && !with_low) return;  // made by an earlier append
  writable(position / kChunkSize, with_count, with_low);
}

Position Ring::append_prepared(SlotBits bits, double low, double count) {
  const bool with_count = count != Chunk::kDefaultCount;
  const bool with_low = low != Chunk::kDefaultLow;
  const Position ticket = head_.fetch_add(1, std::memory_order_release);  // A
  Chunk* chunk = with_count || with_low ? nullptr : newest(ticket / kChunkSize);
  if (chunk == nullptr) {  // prepare() has found memory, unless other threads took tickets in between
    chunk = when_there_is_memory([&] { return writable(ticket / kChunkSize, with_count, with_low); });
  }
  if (chunk == nullptr) return ticket;  // a whole lap went by: this entry has left the ring already
  const std::size_t index = ticket % kChunkSize;
  // Release as D is: a reader that sees one of these and still the slot of the lap before must not find
  // its entry unchanged at M.
  if (with_count) chunk->counts().value[index].store(count, std::memory_order_release);
  if (with_low) chunk->lows().value[index].store(low, std::memory_order_release);
  chunk->slots[index].store(bits, std::memory_order_release);  // C
  if (ticket % kLeafSize == kLeafSize - 1) summarise_early(ticket / kLeafSize);
  return ticket;
}

// Summarises a leaf whose last entry was just stored, while it is in the cache. Waits for nobody: where an
// entry has not landed, the first reader who needs the summary makes it.
void Ring::summarise_early(std::uint64_t leaf_number) const {
  Walk walk(*this, leaf_number / kFanOut);
  if (walk.find(leaf_number / kFanOut) != Read::kOk) return;
  double values[kLeafSize];
  const std::size_t leaf = leaf_number % kFanOut;
  if (!copy_landed(&walk.chunk().slots[leaf * kLeafSize], kLeafSize, values) || !walk.still()) return;
  walk.chunk().leaves[leaf].store(leaf_number, summarise(values, kLeafSize));
}

void Ring::land(Position position, SlotBits bits, double low) {
  Walk walk(*this, position / kChunkSize);
  if (walk.find(position / kChunkSize) != Read::kOk) return;
  // A pending slot keeps its chunk from being used again, so this cannot hit a later lap.
  const std::size_t index = position % kChunkSize;
  if (low != Chunk::kDefaultLow) {
    when_there_is_memory([&] { return &walk.chunk().lows(); })
        ->value[index]
        .store(low, std::memory_order_release);
  }
  walk.chunk().slots[index].store(bits, std::memory_order_release);  // C
}

Ring::Walk::Walk(const Ring& ring, std::uint64_t chunk_number)
    : ring_(ring), number_(chunk_number), place_(ring.place(chunk_number)) {}

Read Ring::Walk::find(std::uint64_t chunk_number) {
  if (chunk_number == number_ && chunk_ != nullptr) return Read::kOk;
  place_.slot += static_cast<std::size_t>(chunk_number - number_);
  number_ = chunk_number;
  if (place_.slot >= ring_.capacity_) place_ = ring_.place(chunk_number);
  chunk_ = nullptr;
  if (ring_.has_left(chunk_number)) return Read::kOvertaken;
  for (Spin spin;; spin.once()) {
    const Page* page = ring_.pages_[place_.slot / Page::kEntries].load(std::memory_order_acquire);
    if (page == nullptr) continue;
    entry_ = &page->entry[place_.slot % Page::kEntries];
    seen_ = entry_->load(std::memory_order_acquire);  // K
    if (seen_ == 0) continue;
    if (lap_of(seen_) == place_.lap) break;
    if (is_later(lap_of(seen_), place_.lap)) return Read::kOvertaken;
  }
  chunk_ = chunk_of(seen_);
  return Read::kOk;
}

void Ring::Walk::prefetch(std::uint64_t chunk_number) const {
  const std::size_t slot = ring_.place(chunk_number).slot;
  const Page* page = ring_.pages_[slot / Page::kEntries].load(std::memory_order_acquire);
  if (page == nullptr) return;
  // Relaxed: nothing is read through it here.
  const Chunk* chunk = chunk_of(page->entry[slot % Page::kEntries].load(std::memory_order_relaxed));
  if (chunk == nullptr) return;
  constexpr std::size_t kCacheLine = 64;
  const char* leaves = reinterpret_cast<const char*>(&chunk->leaves);
  for (std::size_t i = 0; i < sizeof chunk->leaves; i += kCacheLine) __builtin_prefetch(leaves + i);
}

CellTable::CellTable(std::size_t chunks) : mask_(0) {
  while ((mask_ + 1) * kRunChunks < chunks) mask_ = mask_ * 2 + 1;
  runs_.reset(new std::atomic<Cells*>[mask_ + 1]);
  for (std::uint64_t i = 0; i <= mask_; ++i) runs_[i].store(nullptr, std::memory_order_relaxed);
}

CellTable::~CellTable() {
  for (std::uint64_t i = 0; i <= mask_; ++i) delete runs_[i].load(std::memory_order_relaxed);
}

inline CellTable::Cells& CellTable::cells(std::uint64_t run_number) const {
  std::atomic<Cells*>& place = runs_[run_number & mask_];
  Cells* existing = place.load(std::memory_order_acquire);
  if (existing != nullptr) return *existing;
  return install(place);
}

inline SummaryCell& CellTable::cell(Level level, std::uint64_t number) const {
  switch (level) {
    case Level::kChunk: return cells(number / kRunChunks).chunk[number % kRunChunks];
    case Level::kOctet: return cells(number / kFanOut).octet[number % kFanOut];
    case Level::kRun: break;
  }
  return cells(number).run;
}

// Loads one entry, waiting for the thread that is about to store it.
Read Ring::await(const std::atomic<SlotBits>& slot, const Walk& walk, SlotBits* bits) {
  for (Spin spin; *bits == kEmpty; spin.once()) {
    if (!walk.still()) return Read::kOvertaken;
    *bits = slot.load(std::memory_order_acquire);  // L
  }
  return *bits == kPending ? Read::kPending : Read::kOk;
}

// Loads entries of one chunk.
template <class Column>
Read Ring::load(Walk* walk, Position first, std::size_t n, double* out) const {
  const Read found = walk->find(first / kChunkSize);
  if (found != Read::kOk) return found;
  const Chunk& chunk = walk->chunk();
  const std::size_t offset = first % kChunkSize;
  const std::atomic<SlotBits>* slots = &chunk.slots[offset];
  constexpr bool is_values = std::is_same_v<Column, Values>;
  if (is_values && copy_landed(slots, n, out)) return walk->still() ? Read::kOk : Read::kOvertaken;
  for (std::size_t i = 0; i < n; ++i) {
    SlotBits bits = slots[i].load(std::memory_order_acquire);  // L
    const Read read = await(slots[i], *walk, &bits);
    if (read != Read::kOk) return read;
    if constexpr (is_values) {
      out[i] = decode(bits);
    } else {
      out[i] = Column::value(chunk, offset + i);
    }
  }
  return walk->still() ? Read::kOk : Read::kOvertaken;
}

template <class Column>
Read Ring::leaf(Walk* walk, std::uint64_t number, Summary* out) const {
  Read read = walk->find(number / kFanOut);
  if (read != Read::kOk) return read;
  LeafCells* leaves = Column::leaves(walk->chunk());
  if (leaves == nullptr) {
    // No count was given in this chunk. The summary of the values tells whether the leaf is complete.
    read = leaf<Values>(walk, number, out);
    if (read != Read::kOk) return read;
    leaves = Column::leaves(walk->chunk());  // one may have been given in the meantime
    if (leaves == nullptr) {
      *out = Summary::of_ones(kLeafSize);
      return walk->still() ? Read::kOk : Read::kOvertaken;
    }
  }
  SummaryCell& cell = (*leaves)[number % kFanOut];
  if (cell.load(number, out)) return Read::kOk;

  double values[kLeafSize];
  read = load<Column>(walk, number * kLeafSize, kLeafSize, values);
  if (read != Read::kOk) return read;
  *out = summarise(values, kLeafSize);
  cell.store(number, *out);
  return Read::kOk;
}

template <class Column, Level kLevel>
Read Ring::block(Walk* walk, std::uint64_t number, Summary* out) const {
  SummaryCell& cell = Column::cells(*this).cell(kLevel, number);
  if (cell.load(number, out)) return Read::kOk;

  if constexpr (kLevel == Level::kChunk) walk->prefetch(number + 1);
  constexpr std::size_t kPartSize =
      kLevel == Level::kChunk ? kLeafSize : (kLevel == Level::kOctet ? kChunkSize : kOctetSize);
  Piece parts[kFanOut];
  for (std::size_t i = 0; i < kFanOut; ++i) {
    parts[i].size = static_cast<double>(kPartSize);
    const std::uint64_t part = number * kFanOut + i;
    Read read;
    if constexpr (kLevel == Level::kChunk) {
      read = leaf<Column>(walk, part, &parts[i].summary);
    } else if constexpr (kLevel == Level::kOctet) {
      read = block<Column, Level::kChunk>(walk, part, &parts[i].summary);
    } else {
      read = block<Column, Level::kOctet>(walk, part, &parts[i].summary);
    }
    if (read != Read::kOk) return read;
  }
  *out = combine(parts, kFanOut);
  cell.store(number, *out);
  return Read::kOk;
}

// Loose entries of one leaf.
template <class Column>
Read Ring::loose(Walk* walk, Position first, std::size_t n, bool with_squares, Pieces* out) const {
  if (n == 0) return Read::kOk;
  double values[kLeafSize];
  const Read read = load<Column>(walk, first, n, values);
  if (read == Read::kOk) *out->add(n) = with_squares ? summarise(values, n) : summarise_range(values, n);
  return read;
}

// Whole leaves, in the fewest blocks.
template <class Column>
Read Ring::blocks(Walk* walk, Range range, Pieces* out) const {
  for (Position at = range.begin; at < range.end;) {
    const std::uint64_t left = range.end - at;
    const auto fits = [&](std::size_t size) { return at % size == 0 && left >= size; };
    std::size_t n = kLeafSize;
    Read read = Read::kOk;
    if (!fits(kChunkSize)) {
      read = leaf<Column>(walk, at / n, out->add(n));
    } else if (!fits(kOctetSize)) {
      n = kChunkSize;
      read = block<Column, Level::kChunk>(walk, at / n, out->add(n));
    } else if (!fits(kRunSize)) {
      n = kOctetSize;
      read = block<Column, Level::kOctet>(walk, at / n, out->add(n));
    } else {
      n = kRunSize;
      read = block<Column, Level::kRun>(walk, at / n, out->add(n));
    }
    if (read != Read::kOk) return read;
    at += n;
  }
  return Read::kOk;
}

// A range as one piece, from the cell if that holds it; if not, from what `gather(Pieces*)` finds.
template <class Gather>
Read Ring::keep(SummaryCell& cell, Range range, Pieces* out, Gather&& gather) const {
  Summary* summary = out->add(static_cast<std::size_t>(range.size()));
  // Grows with the end, and among equal ends with the length: what SummaryCell asks of a number.
  const std::uint64_t number = range.end << 24 | range.size();
  const bool has_number = range.size() < (1 << 24) && range.end < (std::uint64_t{1} << 38);
  if (has_number && cell.load(number, summary)) return Read::kOk;
  Pieces pieces;
  const Read read = gather(&pieces);
  if (read != Read::kOk) return read;
  *summary = combine(pieces.begin(), pieces.count());
  if (has_number) cell.store(number, *summary);
  return Read::kOk;
}

template <class Column>
Read Ring::gather(Range range, bool with_squares, Pieces* out) const {
  Walk walk(*this, range.begin / kChunkSize);
  const std::size_t head = range.begin % kLeafSize == 0 ? 0 : loose_from(range.begin, range.end);
  const Position first = range.begin + head;
  const Position last = std::max(first, range.end - range.end % kLeafSize);
  const auto ends_and = [&](Pieces* pieces, auto&& middle) {
    Read read = loose<Column>(&walk, range.begin, head, with_squares, pieces);
    if (read == Read::kOk) read = middle(pieces);
    if (read != Read::kOk) return read;
    return loose<Column>(&walk, last, static_cast<std::size_t>(range.end - last), with_squares, pieces);
  };
  const auto middle = [&](Pieces* pieces) { return blocks<Column>(&walk, {first, last}, pieces); };
  if (range.size() < kLong) return ends_and(out, middle);
  const CellTable& cells = Column::cells(*this);
  const auto kept_middle = [&](Pieces* pieces) {
    return keep(cells.blocks(), {first, last}, pieces, middle);
  };
  if (with_squares) return ends_and(out, kept_middle);
  return keep(cells.window(), range, out, [&](Pieces* pieces) { return ends_and(pieces, kept_middle); });
}

// Calls visit(walk, first, n) for the part of the range in each chunk, in order, until one is not kOk.
template <class Visit>
Read Ring::by_chunk(Range range, Visit&& visit) const {
  Walk walk(*this, range.begin / kChunkSize);
  for (Position at = range.begin; at < range.end;) {
    const std::size_t offset = at % kChunkSize;
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(kChunkSize - offset, range.end - at));
    const Read read = visit(&walk, at, n);
    if (read != Read::kOk) return read;
    at += n;
  }
  return Read::kOk;
}

Read Ring::has_lows(Range range, bool* out) const {
  *out = false;
  return by_chunk(range, [&](Walk* walk, Position first, std::size_t n) {
    if (*out) return Read::kOk;
    Read read = walk->find(first / kChunkSize);
    if (read != Read::kOk || walk->chunk().low_column.load(std::memory_order_acquire) == nullptr) return read;
    double lows[kChunkSize];
    read = load<Lows>(walk, first, n, lows);
    *out = read == Read::kOk && std::any_of(lows, lows + n, [](double low) { return low != 0.0; });
    return read;
  });
}

Position Ring::landed_end(Range range) const {
  Position end = range.end;
  by_chunk(range, [&](Walk* walk, Position first, std::size_t n) {
    if (walk->find(first / kChunkSize) != Read::kOk) return Read::kOk;
    const std::atomic<SlotBits>* slots = &walk->chunk().slots[first % kChunkSize];
    for (std::size_t i = 0; i < n; ++i) {
      if (is_landed(slots[i].load(std::memory_order_acquire))) continue;  // L
      if (!walk->still()) return Read::kOk;
      end = first + i;
      return Read::kPending;
    }
    return Read::kOk;
  });
  return end;
}

Read Ring::copy(Range range, double* out, double* lows, double* counts) const {
  return by_chunk(range, [&](Walk* walk, Position first, std::size_t n) {
    const auto done = static_cast<std::size_t>(first - range.begin);
    Read read = load<Values>(walk, first, n, out + done);
    if (read == Read::kOk && counts != nullptr) read = load<Counts>(walk, first, n, counts + done);
    if (read == Read::kOk && lows != nullptr) read = load<Lows>(walk, first, n, lows + done);
    return read;
  });
}

template Read Ring::gather<Ring::Values>(Range, bool, Pieces*) const;
template Read Ring::gather<Ring::Counts>(Range, bool, Pieces*) const;
template Read Ring::load<Ring::Values>(Walk*, Position, std::size_t, double*) const;  // for scan()

}  // namespace ringmeter
