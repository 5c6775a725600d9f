// A lock-free ring of 64-bit slots that many threads append to and read, with block summaries.
//
// Positions. Every entry ever appended has a position, its ticket: 0, 1, 2, ... The ring keeps at
// least the newest `min_entries` of them, and at least kSlack more than that. A range of positions
// is all that a reader names; that it may lie in memory used over and over is hidden here.
//
// Layout. Entries live in chunks of kChunkSize slots. Chunk number n (positions n * kChunkSize and
// up) is found through directory entry n % capacity, which holds {address of the chunk, lap}, with
// lap = n / capacity, in one 64-bit word. The directory comes in pages. Pages and chunks are made when
// they are first reached.
//
//   directory page 0                  page 1 ...
//   +--------+--------+--------+
//   | c0|lap | c1|lap | c2|lap |...
//   +---|----+---|----+---|----+
//       v        v        v
//     chunk    chunk    chunk         a chunk: 1024 slots, and a summary of each 128 of them
//
// Append. Take a ticket, find its chunk (installing one when the ticket is the first to reach it), store the
// slot. No thread waits for another. When the ring is full, installing chunk n takes chunk n - capacity out
// of the directory. That chunk is used again only when each of its slots holds a value: then every writer
// that ever came by this chunk is done with it. One with a slot still empty (a writer asleep for a whole
// lap) is set aside until the ring dies.
//
//   writer                                       reader
//   A  ticket := head++             (release)    K  entry, has the lap I want?  (acquire, matches B)
//   B  entry := {chunk, lap}, by    (acq_rel)    L  slot                 (acquire, matches C and D)
//      compare-exchange, if absent               M  entry unchanged?            (relaxed: after L)
//   C  count, then slot := value    (release)
//   D  slots of a retired chunk     (release)
//      := empty, before its next B
//
//   B before C, so a value is only stored where a reader can find it. C is release so that the count
//   stored beside the slot is seen with it. D comes after the B that retired the chunk; a reader that
//   sees D's empty, or a value or count of the next lap, at L therefore sees another entry at M, and
//   starts again. A promises nothing of the slot, which says itself whether it holds a value; it is
//   release, and head() acquire, for the flags that Series raises before a push.
//   A writer may take the chunk that was installed last as it is, without the directory (newest_): its own
//   slot there is empty, so that chunk is not used again before C, however many laps go by.
//   Laps and the number in newest_ count to 2^22 and start again. Who comes late looks at head() first
//   (has_left), so to be fooled a thread would have to sleep between K and M, between A and C, or between B
//   and newest_, while a multiple of 2^22 laps, or chunks, goes by: 2^32 entries or more.
//
// Summaries. A block of kLeafSize entries, all landed, never changes until it is recycled; so whoever
// needs its summary may compute and keep it (SummaryCell). The writer of the last entry of a leaf does, if
// all have landed: 1 ns an entry while they are in its cache, where a reader who comes by much later needs 2.
// Eight leaves make a chunk, eight chunks an octet, eight octets a run, each summarised by readers from the
// level below. A range of n entries is then at most 2 * 127 loose entries, 2 * 7 blocks of each of three
// sizes, and n / 65536 runs. Of a long range, the blocks are added up first, by themselves, then all of it,
// so that both sums can be kept: the same bits, kept or not.
//
// Cost: append O(1); a query O(leaf + levels + n / 65536); 8.5 bytes an entry, 17 with counts.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/chunk.h"
#include "core/number.h"

namespace ringmeter {

using Position = std::uint64_t;

// Positions [begin, end).
struct Range {
  Position begin = 0;
  Position end = 0;
  std::uint64_t size() const { return end - begin; }
};

// What a range is made of, in order.
class Pieces {
 public:
  // Adds a piece of `size` entries, whose summary the caller fills in.
  Summary* add(std::size_t size) {
    if (n_ == kMost) collapse();
    pieces_[n_].size = static_cast<double>(size);
    return &pieces_[n_++].summary;
  }
  const Piece* begin() const { return pieces_; }
  const Piece* end() const { return pieces_ + n_; }
  std::size_t count() const { return n_; }

 private:
  // Enough for two million entries; beyond that, what there is becomes one piece.
  static constexpr std::size_t kMost = 160;
  void collapse() {
    double size = 0.0;
    for (const Piece& piece : *this) size += piece.size;
    pieces_[0] = {combine(pieces_, n_), size};
    n_ = 1;
  }

  Piece pieces_[kMost];  // the first n_ are set
  std::size_t n_ = 0;
};

// The blocks larger than a leaf.
enum class Level { kChunk, kOctet, kRun };

// The summaries of those blocks, found by block number. Cells are made 73 at a time when the first of
// them is needed, each for any block whose number is the same modulo the size of the table: no two such
// blocks are in the ring at once. Any thread.
class CellTable {
 public:
  // For a ring of that many chunks.
  explicit CellTable(std::size_t chunks);
  ~CellTable();
  CellTable(const CellTable&) = delete;
  CellTable& operator=(const CellTable&) = delete;

  // Throws std::bad_alloc.
  SummaryCell& cell(Level level, std::uint64_t number) const;

  // What the newest long range comes to, of those that end together the longest, without `squares`; and what
  // its whole leaves come to, which are the same for the next 128 entries.
  SummaryCell& window() const { return window_; }
  SummaryCell& blocks() const { return blocks_; }

 private:
  struct Cells {
    std::array<SummaryCell, kRunChunks> chunk;
    std::array<SummaryCell, kFanOut> octet;
    SummaryCell run;
  };

  Cells& cells(std::uint64_t run_number) const;

  mutable SummaryCell window_;
  mutable SummaryCell blocks_;
  std::uint64_t mask_;                           // a power of two, less one
  std::unique_ptr<std::atomic<Cells*>[]> runs_;  // each set once, by compare-exchange
};

enum class Read {
  kOk,
  kOvertaken,  // part of the range has left the ring
  kPending,    // part of the range is still on a device
};

class Ring {
 public:
  // How far behind the newest entry a range of `min_entries` may end and still be there whole.
  static constexpr std::uint64_t kSlack = kChunkSize;

  // Keeps at least `min_entries` > 0 entries. Throws std::bad_alloc, as for any number beyond 2^48.
  explicit Ring(std::uint64_t min_entries);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Any thread. Returns the position. Throws std::bad_alloc before anything has changed (or, when
  // threads race for the last memory, waits until there is some).
  Position append(SlotBits bits, double low, double count) {
    prepare(low, count);
    return append_prepared(bits, low, count);
  }

  // The same in two steps, for who has something to do when it is known that there is memory.
  void prepare(double low, double count);
  Position append_prepared(SlotBits bits, double low, double count);

  // Any thread: gives the entry that append() left as kPending its value, once. An entry that has already
  // left the ring is passed over. Of an entry that is not pending, the effect is undefined.
  void land(Position position, SlotBits bits, double low);

  // Any thread: where the landed part of the range ends: its first entry that is pending, or about to be
  // stored. What has left the ring is passed over.
  Position landed_end(Range range) const;

  // Any thread: the number of tickets taken so far.
  Position head() const { return head_.load(std::memory_order_acquire); }

  // The columns of the ring; gather() runs over the first or the second.
  struct Values;
  struct Counts;
  struct Lows;

  // Any thread: adds to `out` the summaries that make up the range, in order; Summary::squares is set
  // only when asked for. After anything but kOk they are void. Waits (spinning, yielding) for threads that
  // have taken a ticket in the range and are about to store.
  template <class Column>
  Read gather(Range range, bool with_squares, Pieces* out) const;

  // Any thread: hands the values of the range to `visit(const double*, std::size_t n)` in order, no more
  // than kLeafSize at a time. Answers and waits as gather().
  template <class Visit>
  Read scan(Range range, Visit&& visit) const;

  // Any thread: whether a value of the range has a low part, once all of them are known to have landed.
  Read has_lows(Range range, bool* out) const;

  // Any thread: copies the values of a range to `out`, and their low parts or counts where the
  // pointer is not null.
  Read copy(Range range, double* out, double* lows, double* counts) const;

 private:
  struct Page;

  struct Place {
    std::size_t slot;   // index into the directory
    std::uint64_t lap;  // modulo 2^22
  };

  // A reader's way through the directory, forwards: it remembers the chunk found last, and by which
  // entry, so as to tell whether that entry still leads there (M).
  class Walk {
   public:
    Walk(const Ring& ring, std::uint64_t chunk_number);

    // Finds the chunk of that number, waiting for the thread that is installing it.
    Read find(std::uint64_t chunk_number);
    // Has the summaries of a chunk brought into the cache: all that a first look at many entries waits for.
    void prefetch(std::uint64_t chunk_number) const;
    Chunk& chunk() const { return *chunk_; }
    bool still() const { return entry_->load(std::memory_order_relaxed) == seen_; }  // M

   private:
    const Ring& ring_;
    std::uint64_t number_;
    Place place_;
    Chunk* chunk_ = nullptr;
    const std::atomic<std::uint64_t>* entry_ = nullptr;
    std::uint64_t seen_ = 0;
  };

  Place place(std::uint64_t chunk_number) const;
  // Whether the ring has certainly gone round since; says so long before lap numbers start again.
  bool has_left(std::uint64_t chunk_number) const { return chunk_number + capacity_ < head() / kChunkSize; }
  Page& page(std::size_t index);
  Chunk* find_or_install(std::uint64_t chunk_number);
  Chunk* writable(std::uint64_t chunk_number, bool with_count, bool with_low);
  Chunk* newest(std::uint64_t chunk_number) const;
  Chunk* take_chunk();
  void keep_chunk(Chunk* chunk);
  void retire(Chunk* chunk);
  void set_aside(Chunk* chunk);
  void summarise_early(std::uint64_t leaf_number) const;

  // Entries from `at` to the end of its leaf, or of the range.
  static std::size_t loose_from(Position at, Position end) {
    const std::uint64_t to_leaf_end = kLeafSize - at % kLeafSize;
    return static_cast<std::size_t>(end - at < to_leaf_end ? end - at : to_leaf_end);
  }

  static Read await(const std::atomic<SlotBits>& slot, const Walk& walk, SlotBits* bits);
  template <class Column>
  Read load(Walk* walk, Position first, std::size_t n, double* out) const;
  template <class Visit>
  Read by_chunk(Range range, Visit&& visit) const;
  template <class Column>
  Read loose(Walk* walk, Position first, std::size_t n, bool with_squares, Pieces* out) const;
  template <class Column>
  Read blocks(Walk* walk, Range range, Pieces* out) const;
  template <class Gather>
  Read keep(SummaryCell& cell, Range range, Pieces* out, Gather&& gather) const;
  template <class Column>
  Read leaf(Walk* walk, std::uint64_t number, Summary* out) const;
  template <class Column, Level kLevel>
  Read block(Walk* walk, std::uint64_t number, Summary* out) const;

  static constexpr std::uint64_t kLong = 16 * kLeafSize;  // from here on a range comes as one piece
  static constexpr std::size_t kSpares = 16;

  const std::size_t capacity_;    // directory entries; never changes
  const std::size_t page_count_;  // never changes
  CellTable value_cells_;
  CellTable count_cells_;
  std::unique_ptr<std::atomic<Page*>[]> pages_;           // each set once, by compare-exchange
  std::array<std::atomic<Chunk*>, kSpares> spares_ = {};  // exchange; retired, to be used again
  std::atomic<Chunk*> set_aside_{nullptr};                // push-only stack, freed with the ring
  // {chunk, its number modulo 2^22} as installed last: saves an append 5 of 12 ns. Stored with release after
  // B, for what a directory entry publishes too; loaded with acquire.
  std::atomic<std::uint64_t> newest_{0};
  // fetch_add by writers; on a cache line of its own wherever the ring lies (it may be inside an
  // object whose alignment is not ours to choose), because every append also reads what is around it.
  char padding_before_[64];
  std::atomic<Position> head_{0};
  char padding_after_[64];
};

struct Ring::Page {
  static constexpr std::size_t kEntries = 64;
  std::array<std::atomic<std::uint64_t>, kEntries> entry = {};
};

struct Ring::Values {
  static LeafCells* leaves(Chunk& chunk) { return &chunk.leaves; }
  static const CellTable& cells(const Ring& ring) { return ring.value_cells_; }
};

struct Ring::Counts {
  static LeafCells* leaves(Chunk& chunk) {
    SideColumn* column = chunk.count_column.load(std::memory_order_acquire);
    return column == nullptr ? nullptr : &column->leaves;
  }
  static const CellTable& cells(const Ring& ring) { return ring.count_cells_; }
  static double value(const Chunk& chunk, std::size_t index) {
    const SideColumn* column = chunk.count_column.load(std::memory_order_acquire);
    return column == nullptr ? Chunk::kDefaultCount : column->value[index].load(std::memory_order_acquire);
  }
};

struct Ring::Lows {
  static double value(const Chunk& chunk, std::size_t index) {
    const SideColumn* column = chunk.low_column.load(std::memory_order_acquire);
    return column == nullptr ? Chunk::kDefaultLow : column->value[index].load(std::memory_order_acquire);
  }
};

template <class Visit>
Read Ring::scan(Range range, Visit&& visit) const {
  double values[kLeafSize];
  Walk walk(*this, range.begin / kChunkSize);
  for (Position at = range.begin; at < range.end;) {
    const std::size_t n = loose_from(at, range.end);
    const Read read = load<Values>(&walk, at, n, values);
    if (read != Read::kOk) return read;
    visit(static_cast<const double*>(values), n);
    at += n;
  }
  return Read::kOk;
}

}  // namespace ringmeter
