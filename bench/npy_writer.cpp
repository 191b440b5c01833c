#include "bench/npy_writer.h"

#include <fmt/format.h>

#include <bit>
#include <stdexcept>

namespace crossover {

static_assert(std::endian::native == std::endian::little, "the header says little-endian");

NpyWriter::NpyWriter(const std::filesystem::path& path, std::int64_t columns) : path_(path), file_(path, std::ios::binary), columns_(columns) {
  if (!file_) throw std::runtime_error(fmt::format("cannot write {}: check that the folder exists and is writable", path.string()));
  write_header();
}

void NpyWriter::append(ConstRows rows) {
  for (std::int64_t r = 0; r < rows.rows; ++r)
    file_.write(reinterpret_cast<const char*>(rows.row(r)), static_cast<std::streamsize>(sizeof(float)) * columns_);
  rows_ += rows.rows;
}

// Always 128 bytes, so that the number of rows can be put in when it is known.
void NpyWriter::write_header() {
  constexpr std::size_t kHeader = 128, kMagic = 10;
  std::string text = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows_, columns_);
  text.resize(kHeader - kMagic - 1, ' ');
  const char magic[kMagic] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<char>(kHeader - kMagic), 0};
  file_.seekp(0);
  file_.write(magic, kMagic).write(text.data(), static_cast<std::streamsize>(text.size())).put('\n');
}

void NpyWriter::finish() {
  write_header();
  file_.close();
  if (!file_) throw std::runtime_error(fmt::format("cannot write {}: is the disk full?", path_.string()));
}

}  // namespace crossover
