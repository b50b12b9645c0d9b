// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "amd64/features.h"

extern struct amd64_features hosted_features; // set at start

void hosted_features_init(void);
