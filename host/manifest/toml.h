// SPDX-License-Identifier: Apache-2.0
// TOML as a plain C tree. The only file that knows the library behind it (tomlplusplus) is toml.cpp.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum toml_type { TOML_TABLE, TOML_ARRAY, TOML_STRING, TOML_INTEGER, TOML_BOOLEAN, TOML_OTHER };

struct toml_value {
	enum toml_type type;
	char *key;     // in its table; NULL in an array and at the root
	unsigned line; // 1-based; 0 unknown
	char *string;
	int64_t integer;
	bool boolean;
	struct toml_value *children; // of tables and arrays
	size_t count;
};

// Parses `size` bytes. NULL and a message ("line 3: ...") in `message` when it is not TOML.
struct toml_value *toml_parse(const char *text, size_t size, char *message, size_t message_size);
void toml_free(struct toml_value *root);
// The child `key` of a table; NULL.
const struct toml_value *toml_get(const struct toml_value *table, const char *key);
const char *toml_type_name(enum toml_type type);

#ifdef __cplusplus
}
#endif
