// Whole files: read where they are, written whole or not at all, and why one could not be written.
#pragma once

#include <filesystem>
#include <string>

namespace crossover {

std::string read_if_there(const std::filesystem::path& path);  // empty where there is none

// A file beside it, synced, then renamed. std::runtime_error names the file and, on a full disk, what is free.
void write_whole_file(const std::filesystem::path& path, const std::string& text);

// The name of a new file is durable only once its folder is. A file system that cannot is left alone.
void sync_folder(const std::filesystem::path& folder);

// "No space left on device (12288 bytes are free there)".
std::string write_trouble(const std::filesystem::path& path, int error);

}  // namespace crossover
