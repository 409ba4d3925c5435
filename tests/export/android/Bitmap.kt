package android.graphics

/** A picture of one colour, half transparent. */
class Bitmap(val width: Int, val height: Int) {
    fun getPixels(into: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        require(stride >= width && x == 0 && y + height <= this.height)
        for (k in 0 until width) into[offset + k] = (128 shl 24) or (200 shl 16) or (100 shl 8) or 0
    }
    companion object {
        fun createScaledBitmap(of: Bitmap, width: Int, height: Int, filter: Boolean): Bitmap {
            require(filter && of.width > 0)
            return Bitmap(width, height)
        }
    }
}
