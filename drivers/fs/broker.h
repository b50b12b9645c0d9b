// SPDX-License-Identifier: Apache-2.0
// Between broker.c, the conversation, and watch.c, what the broker says unasked.
#pragma once

#include "fs.h"

struct broker_grant {                    // a granted tree; lives for ever
	struct fs_connection connection; // first
	uint32_t number;
};

uint32_t broker_grant_of(const struct fs_connection *c);
struct fs_connection *broker_connection(uint32_t number);   // NULL: none was ever mounted
void broker_reports_take(const char *message, size_t size); // watch.c: a message of the events' socket
