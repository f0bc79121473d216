// The words of the chosen language.

import { language } from "../shared/api.js";
import { english } from "./text-en.js";
import { chinese } from "./text-zh.js";

export const text = language === "zh" ? chinese : english;
