package android.graphics

/** A picture of pixels that a function of column and line gives; else one colour, half transparent. */
class Bitmap(
    val width: Int,
    val height: Int,
    private val at: (Int, Int) -> Int = { _, _ -> (128 shl 24) or (200 shl 16) or (100 shl 8) or 0 },
) {
    fun getPixels(into: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        require(stride >= width && height == 1 && x == 0 && y + height <= this.height)
        for (k in 0 until width) into[offset + k] = at(k, y)
    }
    companion object {
        /** Takes the nearest pixel, which makes it plain where a pixel comes from. */
        fun createScaledBitmap(of: Bitmap, width: Int, height: Int, filter: Boolean): Bitmap {
            require(filter && of.width > 0)
            return Bitmap(width, height) { x, y -> of.at(x * of.width / width, y * of.height / height) }
        }
        fun createBitmap(of: Bitmap, x: Int, y: Int, width: Int, height: Int): Bitmap {
            require(x >= 0 && y >= 0 && x + width <= of.width && y + height <= of.height)
            return Bitmap(width, height) { column, line -> of.at(x + column, y + line) }
        }
    }
}
